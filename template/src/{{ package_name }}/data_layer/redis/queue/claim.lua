-- Takes over one job of a worker that has been silent; a job that keeps ending its workers is buried.
-- KEYS: stream, dead letters
-- ARGV: group, consumer, ms of silence, most deliveries, most dead letters, retention in s
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], '-', '+', 10)
for _, entry in ipairs(pending) do
  local id, deliveries = entry[1], entry[4]
  if deliveries >= tonumber(ARGV[4]) then
    local found = redis.call('XRANGE', KEYS[1], id, id)
    local buried = {}
    if found[1] then
      buried = redis.pcall('XADD', KEYS[2], 'MAXLEN', ARGV[5], '*', 'job', found[1][2][2],
        'reason', deliveries .. ' workers took it and none of them finished it')
      redis.call('EXPIRE', KEYS[2], ARGV[6])
    end
    -- A server that is full has no place for the letter; the jobs that can be done make some.
    if type(buried) == 'string' or not buried.err then
      redis.call('XACK', KEYS[1], ARGV[1], id)
      redis.call('XDEL', KEYS[1], id)
    end
  else
    local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], id)
    if claimed[1] then
      return claimed[1]
    end
  end
end
return false
