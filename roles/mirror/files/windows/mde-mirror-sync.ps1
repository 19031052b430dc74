# Syncs the mirror of a Windows host: runs Microsoft's download script in a folder that is not served, and publishes the
# packages that pass the verification. Exit status: 0 success, 1 a failure, 75 another sync runs. Windows PowerShell 5.1.
#
# The settings file contains Microsoft's keys for the download script, and the key `mirror` for this script.
[CmdletBinding()]
param(
    [string] $SettingsFile = (Join-Path $PSScriptRoot 'script/settings.json'),
    [string] $Service = 'https://go.microsoft.com/fwlink/'
)

$ErrorActionPreference = 'Stop'
# In Windows PowerShell 5.1, the progress bar makes downloads very slow, and old versions of TLS are the default.
$ProgressPreference = 'SilentlyContinue'
[Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
Add-Type -AssemblyName System.IO.Compression.FileSystem

$downloader = Join-Path (Split-Path -Parent $SettingsFile) 'xplat_offline_updates_download.ps1'
$settings = Get-Content -Raw -LiteralPath $SettingsFile | ConvertFrom-Json
$mirror = $settings.mirror
$staging = $settings.downloadFolder
$work = Split-Path -Parent $staging
$started = [DateTime]::UtcNow
$problems = @()
$published = @()
$version = '[0-9]{1,9}(?:\.[0-9]{1,9}){1,3}'

# The download script inherits these defaults. It has no time limits and no setting for a proxy.
$PSDefaultParameterValues = @{ 'Invoke-WebRequest:UseBasicParsing' = $true; 'Invoke-WebRequest:TimeoutSec' = 120 }
if ($mirror.proxy) {
    $PSDefaultParameterValues['Invoke-WebRequest:Proxy'] = $mirror.proxy
}

function Write-Result([string] $type, [int] $id, [string] $text) {
    Write-Output $text
    try {
        [Diagnostics.EventLog]::WriteEntry('mde-mirror', $text, $type, $id)
    }
    catch {
        Write-Output "Cannot write to the event log: $($_.Exception.Message)"
    }
}

function Get-Unit {
    $platforms = @()
    if ($settings.downloadLinuxUpdates) { $platforms += 'linux' }
    if ($settings.downloadMacUpdates) { $platforms += 'mac' }
    $rings = @('production')
    if ($settings.downloadPreviewUpdates) { $rings += 'preview' }
    foreach ($platform in $platforms) {
        foreach ($ring in $rings) {
            foreach ($arch in 'x86_64', 'arm64') {
                [pscustomobject] @{
                    Platform = $platform; Channel = $ring; Arch = $arch
                    Path     = "$platform/$ring/arch_$arch"
                    Staged   = Join-Path $staging "$platform/$ring/arch_$arch"
                    Served   = Join-Path $mirror.root "$platform/$ring/arch_$arch"
                    Back     = Join-Path $mirror.root "$platform/${ring}_back/arch_$arch"
                    Former   = Join-Path $work "former/$platform/$ring/arch_$arch"
                    Wanted   = $mirror.architectures -contains $arch
                    Offered  = $null; Current = $null
                }
            }
        }
    }
}

# Returns the versions that Microsoft offers for a unit.
function Get-Offered($unit) {
    $address = $Service + '?linkid=' + @{ linux = '2144709'; mac = '2120136' }[$unit.Platform]
    if ($unit.Arch -eq 'arm64') { $address += '&arch=arm64' }
    if ($unit.Channel -eq 'preview') { $address += '&engRing=3&sigRing=1' }
    $answer = (Invoke-WebRequest -Uri "$address&action=info").Content
    if ($answer -is [byte[]]) { $answer = [Text.Encoding]::UTF8.GetString($answer) }
    $engine = [regex]::Match($answer, "<engine>\s*($version)\s*</engine>")
    $definitions = [regex]::Match($answer, "<signatures(?:\s+date\s*=\s*[`"']([^`"']*)[`"'])?[^>]*>\s*($version)\s*</signatures>")
    if (-not ($engine.Success -and $definitions.Success)) {
        throw 'The response of the service contains no versions; a proxy may have answered instead'
    }
    [pscustomobject] @{
        EngineVersion     = $engine.Groups[1].Value
        DefinitionVersion = $definitions.Groups[2].Value
        Date              = $definitions.Groups[1].Value.Trim().Replace(' ', 'T')
    }
}

# Reads the complete package in a folder and returns its versions.
function Get-Proven([string] $folder) {
    $package = Join-Path $folder 'updates.zip'
    $manifest = Join-Path $folder 'manifest.json'
    if (-not ((Test-Path -LiteralPath $package -PathType Leaf) -and (Test-Path -LiteralPath $manifest -PathType Leaf))) {
        throw 'updates.zip or manifest.json is missing'
    }
    $versions = Get-Content -Raw -LiteralPath $manifest | ConvertFrom-Json
    foreach ($named in $versions.EngineVersion, $versions.DefinitionVersion) {
        if ($named -notmatch "^$version`$") { throw 'manifest.json contains no versions' }
    }
    $zip = [IO.Compression.ZipFile]::OpenRead($package)
    try {
        $total = 0
        $buffer = New-Object byte[] 1MB
        foreach ($entry in $zip.Entries) {
            $length = 0
            $stream = $entry.Open()
            try {
                while (($count = $stream.Read($buffer, 0, $buffer.Length)) -gt 0) { $length += $count }
            }
            finally {
                $stream.Dispose()
            }
            if ($length -ne $entry.Length) { throw "$($entry.FullName) in updates.zip is damaged" }
            $total += $length
        }
        if ($total -eq 0) { throw 'updates.zip is empty' }
    }
    finally {
        $zip.Dispose()
    }
    $versions
}

function Test-Same($one, $other) {
    $one -and $other -and
    [version] $one.EngineVersion -eq [version] $other.EngineVersion -and
    [version] $one.DefinitionVersion -eq [version] $other.DefinitionVersion
}

function Test-Lower($one, $other) {
    [version] $one.EngineVersion -lt [version] $other.EngineVersion -or
    [version] $one.DefinitionVersion -lt [version] $other.DefinitionVersion
}

function Remove-Folder([string] $folder) {
    if (Test-Path -LiteralPath $folder) { Remove-Item -LiteralPath $folder -Recurse -Force }
}

# Windows cannot rename open files, nor folders that contain open files. This waits until no file is open.
function Invoke-Patiently([int] $tries, [scriptblock] $action) {
    for ($try = 1; $true; $try++) {
        try {
            & $action
            return
        }
        catch {
            if ($try -ge $tries) { throw }
            Start-Sleep -Seconds 5
        }
    }
}

function Move-Folder([string] $from, [string] $to, [int] $tries = 60) {
    New-Item -ItemType Directory -Force -Path (Split-Path -Parent $to) | Out-Null
    Invoke-Patiently $tries { [IO.Directory]::Move($from, $to) }
}

# Publishes a package. If that fails, the previous package is restored. A damaged package does not become n-1.
function Publish-Package($unit, $fetched) {
    $replaces = Test-Path -LiteralPath $unit.Served
    if ($replaces) { Move-Folder $unit.Served $unit.Former }
    try {
        Move-Folder $unit.Staged $unit.Served 3
    }
    catch {
        if ($replaces) { Move-Folder $unit.Former $unit.Served }
        throw
    }
    $former = $unit.Current
    $unit.Current = $fetched
    if ($mirror.back -and $former) {
        if (Test-Path -LiteralPath $unit.Back) { Move-Folder $unit.Back "$($unit.Former).old" }
        Move-Folder $unit.Former $unit.Back
    }
}

function Get-Time([DateTime] $moment) {
    $moment.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'")
}

# Writes `status.json` for replicas of this mirror and for the checks on endpoints.
function Write-Status($units) {
    $file = Join-Path $mirror.root 'status.json'
    $success = $null
    if (Test-Path -LiteralPath $file) {
        try { $success = [regex]::Match((Get-Content -Raw -LiteralPath $file), '"last_success":\s*"([^"]+)"').Groups[1].Value }
        catch { $success = $null }
    }
    $finished = Get-Time ([DateTime]::UtcNow)
    $result = 'failed'
    if (-not $problems) {
        $result = 'ok'
        $success = $finished
    }
    if (-not $success) { $success = $null }
    $channels = @(foreach ($unit in $units | Where-Object { $_.Current }) {
        $package = Get-Item -LiteralPath (Join-Path $unit.Served 'updates.zip')
        $date = $null
        if ((Test-Same $unit.Current $unit.Offered) -and $unit.Offered.Date) { $date = $unit.Offered.Date }
        @{
            platform           = $unit.Platform
            channel            = $unit.Channel
            arch               = $unit.Arch
            path               = $unit.Path
            definitions_version = $unit.Current.DefinitionVersion
            engine_version     = $unit.Current.EngineVersion
            definitions_date   = $date
            stored             = Get-Time $package.LastWriteTimeUtc
            bytes              = $package.Length
            sha256             = (Get-FileHash -LiteralPath $package.FullName -Algorithm SHA256).Hash.ToLower()
            held               = $null
        }
    })
    $status = @{
        format       = 1
        generated    = $finished
        generator    = 'mde-mirror-sync.ps1'
        channels     = $channels
        last_sync    = @{
            result   = $result
            changed  = $published.Count -gt 0
            started  = Get-Time $started
            finished = $finished
            units    = @()
            errors   = @($problems | ForEach-Object { @{ code = 'windows_sync'; message = $_; hint = 'See the event log.' } })
        }
        last_success = $success
    }
    $next = Join-Path $work 'status.json'
    [IO.File]::WriteAllText($next, ($status | ConvertTo-Json -Depth 6))
    Invoke-Patiently 12 {
        if (Test-Path -LiteralPath $file) { [IO.File]::Replace($next, $file, [NullString]::Value) }
        else { [IO.File]::Move($next, $file) }
    }
}

New-Item -ItemType Directory -Force -Path $work | Out-Null
try {
    $lock = [IO.File]::Open((Join-Path $work 'lock'), 'OpenOrCreate', 'ReadWrite', 'None')
}
catch [IO.IOException] {
    Write-Output 'Another sync of this mirror is running.'
    exit 75
}

try {
    $units = @(Get-Unit)
    foreach ($unit in $units) {
        # If a sync was stopped between the two renames of a publication, the served folder is missing.
        if ((Test-Path -LiteralPath $unit.Former) -and -not (Test-Path -LiteralPath $unit.Served)) {
            Move-Folder $unit.Former $unit.Served
        }
    }
    Remove-Folder $staging
    Remove-Folder (Join-Path $work 'former')

    $needed = @()
    foreach ($unit in $units) {
        if ($unit.Wanted -and (Test-Path -LiteralPath $unit.Served)) {
            try { $unit.Current = Get-Proven $unit.Served }
            catch { Write-Output "$($unit.Path) is damaged and will be replaced: $($_.Exception.Message)" }
        }
        try {
            $unit.Offered = Get-Offered $unit
        }
        catch {
            if ($unit.Wanted) { $problems += "$($unit.Path): $($_.Exception.Message)" }
            continue
        }
        if ($unit.Wanted -and -not (Test-Same $unit.Current $unit.Offered)) {
            $needed += $unit
            continue
        }
        # The download script skips packages whose versions are in its manifest, so a manifest keeps it from downloading.
        New-Item -ItemType Directory -Force -Path $unit.Staged | Out-Null
        $unit.Offered | Select-Object -Property 'EngineVersion', 'DefinitionVersion' | ConvertTo-Json |
            Set-Content -LiteralPath (Join-Path $unit.Staged 'manifest.json') -Encoding Ascii
    }

    if ($needed) {
        # The script writes to the current folder. Its exit status and its output are ignored.
        Push-Location $work
        $ErrorActionPreference = 'Continue'
        try { & $downloader *> (Join-Path $work 'downloader.log') }
        catch { Write-Output "The download script failed: $($_.Exception.Message)" }
        $ErrorActionPreference = 'Stop'
        Pop-Location
    }

    foreach ($unit in $needed) {
        try {
            $fetched = Get-Proven $unit.Staged
            # The script asks for versions after the download. Only the versions from before certainly belong to the package.
            if (-not (Test-Same $fetched $unit.Offered)) { throw 'a new release was published during the download; the next sync downloads it' }
            if ($unit.Current -and (Test-Lower $fetched $unit.Current)) { throw 'the offered versions are lower than the served ones' }
            Publish-Package $unit $fetched
            $published += "$($unit.Path): definitions $($fetched.DefinitionVersion), engine $($fetched.EngineVersion)"
        }
        catch {
            $problems += "$($unit.Path): $($_.Exception.Message)"
        }
    }
    Write-Status $units
}
catch {
    $problems += $_.Exception.Message
}
finally {
    $lock.Dispose()
}

if ($problems) {
    $text = "The mirror could not be updated. It still serves the previous packages.`n" + ($problems -join "`n") +
    "`nThe output of the download script is in $(Join-Path $work 'downloader.log') and $($settings.logFilePath)."
    Write-Result 'Error' 2 $text
    exit 1
}
if ($published) { Write-Result 'Information' 1 ("The mirror serves new packages.`n" + ($published -join "`n")) }
else { Write-Result 'Information' 1 'The mirror is up to date.' }
exit 0
