-- The health of an OkrKeyResult, an OkrObjective or a BigQueryConnection: whether its pipeline works. Behind and
-- At Risk are Healthy unless the annotation okr-operator.dev/degraded-when asks otherwise. Never Suspended: a sync
-- wave would wait for that for ever.
--
-- Argo CD gives a script no string library, and an error makes the health of the whole application unknown: what may
-- be missing, or not be what it should, is read through `field` and `words`.

local function field(value, name)
  if type(value) == "table" then
    return value[name]
  end
  return nil
end

local function words(value, otherwise)
  if type(value) == "string" and value ~= "" then
    return value
  end
  return otherwise
end

local function health(status, message)
  return {status = status, message = message}
end

local metadata = field(obj, "metadata")
local status = field(obj, "status")

local conditions = {}
local listed = field(status, "conditions")
if type(listed) == "table" then
  for _, condition in pairs(listed) do
    local kind = words(field(condition, "type"))
    if kind ~= nil then
      conditions[kind] = condition
    end
  end
end

local function is(kind, truth)
  return field(conditions[kind], "status") == truth
end

local function message(kind, otherwise)
  return words(field(conditions[kind], "message"), otherwise)
end

local observed = tonumber(field(status, "observedGeneration"))
if observed == nil or observed < 0 then
  return health("Progressing", "The operator has said nothing of it yet.")
end
if observed ~= tonumber(field(metadata, "generation")) then
  return health("Progressing", "The operator has not decided on the latest change yet.")
end
if is("Reconciling", "True") then
  return health("Progressing", message("Reconciling", message("Ready", "A sync is outstanding.")))
end
if is("Stalled", "True") or is("Ready", "False") then
  return health("Degraded", message("Ready", message("Stalled", "It is not ready.")))
end
if not is("Ready", "True") then
  return health("Progressing", message("Ready", "The operator has not said yet whether it works."))
end

local ready = message("Ready", "It works.")
-- A connection has none, and nothing to be degraded by.
local okr_status = words(field(status, "okrStatus"))
if okr_status == nil then
  return health("Healthy", ready)
end

local GATE = "okr-operator.dev/degraded-when"
local gate = field(field(metadata, "annotations"), GATE)
if gate ~= nil and gate ~= "AtRisk" and gate ~= "Behind" then
  -- Whoever wrote it counts on a gate: one that is never closed would be worse than one that is.
  return health("Degraded", "The annotation " .. GATE .. " must be AtRisk or Behind, not \"" .. words(gate, "") .. "\".")
end
if gate ~= nil and (okr_status == "AtRisk" or okr_status == gate) then
  local why = okr_status .. ", and its annotation " .. GATE .. " says " .. gate .. "."
  local numbers = message("OnTrack")
  if numbers ~= nil then
    why = why .. " " .. numbers
  end
  return health("Degraded", why)
end
return health("Healthy", okr_status .. ". " .. ready)
