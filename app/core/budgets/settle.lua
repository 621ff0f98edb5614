-- Replaces a reservation by what was billed, once; one that has expired too.
-- KEYS: as in reserve.lua.
-- ARGV: id, tokens and nanos or "" for what was reserved, size of the thread or "", seconds to remember it, when the day is forgotten,
--       1 if there is no reservation in Redis, then the names of the accounts.
local day, held, size = KEYS[1], KEYS[2], KEYS[3]
if ARGV[4] ~= '' then redis.call('SET', size, ARGV[4], 'EX', ARGV[5]) else redis.call('DEL', size) end
local reserved = redis.call('HGET', day, 'r:' .. ARGV[1])
if not reserved and ARGV[7] == '0' then return 0 end
local t, c = string.match(reserved or '0 0 ', '^(%d+) (%d+) ')
local tokens, nanos = ARGV[2], ARGV[3]
if tokens == '' then tokens, nanos = t, c end
local is_held = redis.call('ZREM', held, ARGV[1]) == 1
for at = 8, #ARGV do
  local name = ARGV[at]
  if is_held then
    redis.call('HINCRBY', day, 'ht:' .. name, -tonumber(t))
    redis.call('HINCRBY', day, 'hc:' .. name, -tonumber(c))
  end
  redis.call('HINCRBY', day, 'st:' .. name, tokens)
  redis.call('HINCRBY', day, 'sc:' .. name, nanos)
end
redis.call('HDEL', day, 'r:' .. ARGV[1])
redis.call('EXPIREAT', day, ARGV[6])
return 1
