-- Enqueues a job. Returns 1 if it was taken, 0 if it was not taken again, -1 if the queue is full.
-- Not taken again: it was taken before under the same idempotency key, or its dead letter is gone.
-- KEYS: stream, delayed, marker of the idempotency key, dead letters
-- ARGV: job, delay in ms, most jobs (0: no bound), seconds of the marker (0: no marker), retention in s,
--   id of the dead letter that becomes the job (empty: a new job)
if ARGV[6] ~= '' and redis.call('XDEL', KEYS[4], ARGV[6]) == 0 then
  return 0
end
local remaining = redis.call('PTTL', KEYS[3])
if tonumber(ARGV[4]) > 0 and remaining > 0 then
  redis.call('PEXPIRE', KEYS[3], remaining)  -- a write, so that WAIT after it means the first one too
  return 0
end
local most = tonumber(ARGV[3])
if most > 0 and redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) >= most then
  return -1
end
if tonumber(ARGV[4]) > 0 then
  redis.call('SET', KEYS[3], 1, 'EX', ARGV[4])
end
local delay = tonumber(ARGV[2])
if delay > 0 then
  local now = redis.call('TIME')
  redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000) + delay, ARGV[1])
  redis.call('EXPIRE', KEYS[2], ARGV[5])
else
  redis.call('XADD', KEYS[1], '*', 'job', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[5])
end
return 1
