-- Says that this worker is still at its jobs; jobs that another worker took over meanwhile stay there.
-- Removes from the group those workers that have no job and have not been heard of for long.
-- KEYS: stream
-- ARGV: group, consumer, ms of silence until a worker is removed, ids
for index = 4, #ARGV do
  local id = ARGV[index]
  if #redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
  end
end
for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local worker = {}
  for index = 1, #facts, 2 do
    worker[facts[index]] = facts[index + 1]
  end
  if worker.pending == 0 and worker.idle > tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], worker.name)
  end
end
