-- Says that a replica is there, and returns how many are, and what is spent and reserved of accounts.
-- KEYS: the replicas by the time of their last sign, the day's hash.
-- ARGV: the replica, seconds after which one is gone, then the names of accounts.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], 60)
local answer = {redis.call('ZCARD', KEYS[1])}
for at = 3, #ARGV do
  local name = ARGV[at]
  local found = redis.call('HMGET', KEYS[2], 'st:' .. name, 'ht:' .. name, 'sc:' .. name, 'hc:' .. name)
  answer[#answer + 1] = string.format('%.0f', (tonumber(found[1]) or 0) + (tonumber(found[2]) or 0))
  answer[#answer + 1] = string.format('%.0f', (tonumber(found[3]) or 0) + (tonumber(found[4]) or 0))
end
return answer
