-- Workers run this now and then. Delayed jobs that are due become jobs.
-- This worker takes over one job of a silent worker; a job that keeps killing workers becomes a dead letter.
-- KEYS: stream, delayed, dead letters
-- ARGV: group, consumer, ms of silence, most deliveries, most dead letters, retention in s,
--   most delayed jobs in one go
-- A full server refuses a script's first write and no later one, so the writes that need room come first.
local function add(key, ...)
  local added = redis.pcall('XADD', key, ...)
  return type(added) == 'string' or not added.err
end
local taken = false
for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 10)) do
  local id, deliveries = entry[1], entry[4]
  if deliveries >= tonumber(ARGV[4]) then
    local found = redis.call('XRANGE', KEYS[1], id, id)
    -- Without room for the letter the job stays; jobs that are done make room.
    if not found[1] or add(KEYS[3], 'MAXLEN', ARGV[5], '*', 'job', found[1][2][2],
        'reason', deliveries .. ' workers took it and none of them finished it') then
      redis.call('EXPIRE', KEYS[3], ARGV[6])
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('XDEL', KEYS[1], id)
    end
  else
    taken = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id)[1] or false
    if taken then
      break
    end
  end
end
local now = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now[1] * 1000 + math.floor(now[2] / 1000),
  'LIMIT', 0, ARGV[7])
for _, job in ipairs(due) do
  if not add(KEYS[1], '*', 'job', job) then
    break
  end
  redis.call('ZREM', KEYS[2], job)
end
-- What waits must not expire.
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return taken
