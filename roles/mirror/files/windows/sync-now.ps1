# Starts the scheduled task that syncs the mirror, waits until it ends, and reports the result.
# Runs through ansible.windows.win_powershell.
[CmdletBinding()]
param(
    [string] $Folder,
    [string] $Name,
    [string] $Status
)

$ErrorActionPreference = 'Stop'
$task = @{ TaskPath = $Folder; TaskName = $Name }
$started = [DateTime]::UtcNow
Start-ScheduledTask @task
do {
    Start-Sleep -Seconds 5
    $state = [string] (Get-ScheduledTask @task).State
} while ($state -eq 'Running' -or $state -eq 'Queued')
$result = (Get-ScheduledTaskInfo @task).LastTaskResult

$written = Get-Item -LiteralPath $Status -ErrorAction SilentlyContinue
$last = $null
if ($written -and $written.LastWriteTimeUtc -ge $started.AddSeconds(-5)) {
    $served = Get-Content -Raw -LiteralPath $Status | ConvertFrom-Json
    $last = $served.last_sync
    $Ansible.Result = @{
        served = @($served.channels | ForEach-Object { "$($_.path): definitions $($_.definitions_version), engine $($_.engine_version)" })
    }
}
$Ansible.Changed = [bool] $last.changed
if ($result -ne 0) {
    throw "The sync ended with $result. $(@($last.errors | ForEach-Object { $_.message }) -join ' ') The event log (Application, mde-mirror) has the details."
}
