-- A game's or a proxy's script in the small: many short-lived tables, closures and strings, and a world that stays.
-- The argument is the number of steps; the answer is a checksum of the world at the end.
local steps = tonumber(arg[1])
local world, names, state = {}, {}, 42

local function random(n)
    state = (state * 1103515245 + 12345) % 2147483648
    return (state >> 8) % n
end

local function entity(number)
    local e = { id = number, x = random(1000), y = random(1000), bag = {}, name = ("entity %d"):format(number % 3001) }
    for k = 1, random(8) do e.bag[k] = { kind = "item" .. random(50), count = k } end
    e.act = function(dx, dy)
        e.x, e.y = (e.x + dx) % 1000, (e.y + dy) % 1000
        return { x = e.x, y = e.y, who = e.name }
    end
    return e
end

local sum = 0
for step = 1, steps do
    local at = random(8000)
    if world[at] then
        local seen = world[at].act(random(9), random(9))
        sum = (sum * 31 + seen.x * 1000 + seen.y + #seen.who) % 1000000007
        if random(3) == 0 then world[at] = nil end
    else
        world[at] = entity(step)
    end
    if step % 1000 == 0 then
        local parts = {}
        for k = 0, 7999, 3 do
            local e = world[k]
            if e then parts[#parts + 1] = e.name .. ":" .. #e.bag end
        end
        names[step // 1000 % 20] = table.concat(parts, ";")
    end
end
for k = 0, 7999 do
    local e = world[k]
    if e then
        for i, item in ipairs(e.bag) do sum = (sum * 33 + i * item.count + #item.kind + e.id) % 1000000007 end
    end
end
for k = 0, 19 do if names[k] then sum = (sum * 37 + #names[k] + names[k]:byte(-1)) % 1000000007 end end
print(sum)
