-- How much there is to do: jobs, running, delayed, dead letters, workers, age of the oldest job in ms.
-- KEYS: stream, delayed, dead letters
-- ARGV: group
local running, workers, age = 0, 0, 0
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if not pending.err then
  running = pending[1]
  workers = #redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if oldest[1] then
  local now = redis.call('TIME')
  age = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest[1][1], '^%d+'))
end
return {redis.call('XLEN', KEYS[1]), running, redis.call('ZCARD', KEYS[2]),
  redis.call('XLEN', KEYS[3]), workers, math.max(age, 0)}
