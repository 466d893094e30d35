-- Says that this worker is still at its jobs; those that another one took over meanwhile stay there.
-- KEYS: stream
-- ARGV: group, consumer, ids
for index = 3, #ARGV do
  local id = ARGV[index]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  end
end
