-- Reserves a turn's estimate in all of its accounts or in none.
-- KEYS: the day's hash, its reservations by expiry, the size of the thread.
-- ARGV: id, seconds, tokens, nanos, history or "", nanos per token, when the day is forgotten, the share to warn at,
--       then for each account: name, limit of tokens or "", limit of nanos or "".
-- Returns {"unknown"}, {"over", tokens, nanos, number of the account, 1 if there would be room but for
-- turns under way, 1 if it is news that there is not}
-- or {"ok", tokens and nanos of each account, the numbers of those that have just come to the share}.
local day, held, size = KEYS[1], KEYS[2], KEYS[3]
local now = redis.call('TIME')
now = tonumber(now[1]) + tonumber(now[2]) / 1000000

local history = tonumber(ARGV[5]) or tonumber(redis.call('GET', size) or '')
if not history then return {'unknown'} end
local tokens = tonumber(ARGV[3]) + history
local nanos = tonumber(ARGV[4]) + math.floor(history * tonumber(ARGV[6]) + 0.5)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', now)) do
  local t, c, names = string.match(redis.call('HGET', day, 'r:' .. id) or '', '^(%d+) (%d+) (.*)$')
  for name in string.gmatch(names or '', '%S+') do
    redis.call('HINCRBY', day, 'ht:' .. name, -tonumber(t))
    redis.call('HINCRBY', day, 'hc:' .. name, -tonumber(c))
  end
  redis.call('ZREM', held, id)
end

local function text(number) return string.format('%.0f', number) end

local used, names = {}, {}
for at = 9, #ARGV, 3 do
  local name = ARGV[at]
  local found = redis.call('HMGET', day, 'st:' .. name, 'sc:' .. name, 'ht:' .. name, 'hc:' .. name)
  local t = (tonumber(found[1]) or 0) + (tonumber(found[3]) or 0) + tokens
  local c = (tonumber(found[2]) or 0) + (tonumber(found[4]) or 0) + nanos
  if t > (tonumber(ARGV[at + 1]) or math.huge) or c > (tonumber(ARGV[at + 2]) or math.huge) then
    redis.call('EXPIREAT', day, ARGV[7])
    t, c = t - (tonumber(found[3]) or 0), c - (tonumber(found[4]) or 0)
    local has_room = t <= (tonumber(ARGV[at + 1]) or math.huge) and c <= (tonumber(ARGV[at + 2]) or math.huge)
    local is_news = has_room and 0 or redis.call('HSETNX', day, 'w100:' .. name, 1)
    return {'over', text(t), text(c), text((at - 6) / 3), has_room and '1' or '0', text(is_news)}
  end
  used[#used + 1] = text(t)
  used[#used + 1] = text(c)
  names[#names + 1] = name
end

local answer = {'ok', unpack(used)}
for number, name in ipairs(names) do
  redis.call('HINCRBY', day, 'ht:' .. name, text(tokens))
  redis.call('HINCRBY', day, 'hc:' .. name, text(nanos))
  local at = 6 + 3 * number
  local share = math.max(
    tonumber(used[2 * number - 1]) / (tonumber(ARGV[at + 1]) or math.huge),
    tonumber(used[2 * number]) / (tonumber(ARGV[at + 2]) or math.huge))
  if share >= tonumber(ARGV[8]) and redis.call('HSETNX', day, 'w80:' .. name, 1) == 1 then
    answer[#answer + 1] = text(number)
  end
end
redis.call('HSET', day, 'r:' .. ARGV[1], text(tokens) .. ' ' .. text(nanos) .. ' ' .. table.concat(names, ' '))
redis.call('ZADD', held, now + tonumber(ARGV[2]), ARGV[1])
redis.call('EXPIREAT', day, ARGV[7])
redis.call('EXPIREAT', held, ARGV[7])
return answer
