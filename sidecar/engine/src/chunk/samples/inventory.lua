-- What a player carries.
local Inventory = {}
Inventory.__index = Inventory
Inventory.MAX_SLOTS = 20

MAX_WEIGHT = 100
local json, util = require("json"), require("util")

--- Creates an empty inventory.
-- @param owner who carries it
function Inventory.new(owner)
  local self = setmetatable({ items = {}, owner = owner }, Inventory)
  return self
end

function Inventory:add(item, count)
  if self:weight() + item.weight > MAX_WEIGHT then
    return false, "too heavy"
  end
  for _ = 1, count or 1 do
    table.insert(self.items, item)
  end
  return true
end

local function total(items) return #items end

Inventory.clear = function(self)
  self.items = {}
end

local each = function(items, visit) for _, item in ipairs(items) do visit(item) end end

local handlers = {
  open = function() return 1 end,
  ["close"] = function() return 2 end,
}

function handlers.sub.run() end

return Inventory
