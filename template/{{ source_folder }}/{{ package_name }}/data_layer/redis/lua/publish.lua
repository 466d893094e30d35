-- Keeps an event for clients that come back for it, and sends it to those that listen now.
-- KEYS: stream, whose name is the channel's too
-- ARGV: data, most events kept, ms that they are kept
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'data', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', KEYS[1], id .. ' ' .. ARGV[1])
return id
