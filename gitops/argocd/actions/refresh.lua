-- Asks for a sync now, as `kubectl okr refresh` does. status.lastHandledRefresh shows the time given here once it is
-- served. The annotation is in no manifest, and Argo CD counts such a one neither as a difference nor removes it.

local os = require("os")

-- Argo CD writes back what it decoded here, where a whole number above 2^53 is no longer exact.
local function exact(value)
  if type(value) == "number" then
    return value > -9007199254740992 and value < 9007199254740992
  end
  if type(value) == "table" then
    for _, inner in pairs(value) do
      if not exact(inner) then
        return false
      end
    end
  end
  return true
end

if not exact(obj.spec) then
  error("a number of its spec is too large for Argo CD to write back exactly: quote it in the manifest, or use kubectl okr refresh")
end

if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["okr-operator.dev/refresh"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
