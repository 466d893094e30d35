-- Gives a lease back, and stores the value that was loaded meanwhile; 0 when the lease is gone.
-- KEYS: value, lease
-- ARGV: token of the lease, value, ms to live (the last two are absent when nothing is stored)
-- A loader that lost its lease may have read before the write that deleted the lease: its value may be old.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2])
return 1
