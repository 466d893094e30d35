-- Moves the delayed jobs that are due into the stream, and keeps what waits from expiring.
-- KEYS: stream, delayed
-- ARGV: most jobs in one go, retention in s
local now = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now[1] * 1000 + math.floor(now[2] / 1000),
  'LIMIT', 0, ARGV[1])
for _, job in ipairs(due) do
  local added = redis.pcall('XADD', KEYS[1], '*', 'job', job)
  if type(added) == 'table' and added.err then
    break  -- the server is full; the jobs that are in the stream make room
  end
  redis.call('ZREM', KEYS[2], job)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return #due
