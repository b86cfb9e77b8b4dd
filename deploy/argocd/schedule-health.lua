-- Argo CD's health of a MemoryMigrationSchedule, for this key of argocd-cm:
-- resource.customizations.health.memory-migration.dev_MemoryMigrationSchedule
-- Reads Ready and Stalled: whether migrations are made, not how they end. tests/argocd.rs tries it.
local health = { status = "Progressing", message = "waiting for the controller" }
if obj.metadata ~= nil and obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- What is said of an older generation is not about this spec.
local generation = obj.metadata ~= nil and obj.metadata.generation or nil
if generation ~= nil and obj.status.observedGeneration ~= generation then
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready, stalled = found.Ready, found.Stalled
local shown = stalled ~= nil and stalled.status == "True" and stalled or ready
if shown == nil then
  return health
end
health.message = (shown.reason or "") .. ": " .. (shown.message or "")
if shown == stalled then
  health.status = "Degraded"
elseif ready.status == "True" then
  health.status = ready.reason == "Suspended" and "Suspended" or "Healthy"
end
return health
