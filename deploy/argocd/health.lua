-- Argo CD's health of a MemoryMigration, for this key of argocd-cm:
-- resource.customizations.health.memory-migration.dev_MemoryMigration
-- Reads the three conditions and nothing else; tests/argocd.rs tries every reason.
local health = { status = "Progressing", message = "waiting for the controller" }
if obj.metadata ~= nil and obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
if obj.status == nil or obj.status.conditions == nil then
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
-- What is said of an older generation is not about this spec.
local generation = obj.metadata ~= nil and obj.metadata.generation or nil
if generation ~= nil and obj.status.observedGeneration ~= generation then
  return health
end
local shown = found.Stalled or found.Ready or found.Reconciling
if shown ~= nil and shown.reason ~= nil then
  health.message = shown.reason .. ": " .. (shown.message or "")
end
local function is(kind, status)
  return found[kind] ~= nil and found[kind].status == status
end
if is("Stalled", "True") then
  health.status = "Degraded"
elseif is("Ready", "True") then
  health.status = "Healthy"
elseif is("Reconciling", "False") and found.Reconciling.reason == "Suspended" then
  health.status = "Suspended"
end
return health
