-- Acknowledges a job and deletes it: a stream keeps acknowledged entries for ever.
-- KEYS: stream
-- ARGV: group, id
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return redis.call('XDEL', KEYS[1], ARGV[2])
