-- Moves a dead letter back into the queue; 0 when somebody else has done so.
-- KEYS: stream, dead letters
-- ARGV: id of the dead letter, job, retention in s
if redis.call('XDEL', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('XADD', KEYS[1], '*', 'job', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
