# Syncs the mirror of a Windows host: runs Microsoft's downloader where no endpoint looks, and serves what it left once
# that is proven. Ends with 0 when all is well, 1 when something failed, 75 when another sync runs. Windows PowerShell 5.1.
#
# Everything is in one file of settings: Microsoft's keys, which the downloader reads beside itself, and `mirror`, ours.
[CmdletBinding()]
param(
    [string] $SettingsFile = (Join-Path $PSScriptRoot 'script/settings.json'),
    [string] $Service = 'https://go.microsoft.com/fwlink/'
)

$ErrorActionPreference = 'Stop'
# Windows PowerShell 5.1 draws its progress so often that downloads crawl, and offers old versions of TLS first.
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

# The downloader's calls inherit these: it has no time limits and no way to name a proxy of its own.
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
        Write-Output "The event log took no entry: $($_.Exception.Message)"
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

# What Microsoft offers for a unit now.
function Get-Offered($unit) {
    $address = $Service + '?linkid=' + @{ linux = '2144709'; mac = '2120136' }[$unit.Platform]
    if ($unit.Arch -eq 'arm64') { $address += '&arch=arm64' }
    if ($unit.Channel -eq 'preview') { $address += '&engRing=3&sigRing=1' }
    $answer = (Invoke-WebRequest -Uri "$address&action=info").Content
    if ($answer -is [byte[]]) { $answer = [Text.Encoding]::UTF8.GetString($answer) }
    $engine = [regex]::Match($answer, "<engine>\s*($version)\s*</engine>")
    $definitions = [regex]::Match($answer, "<signatures(?:\s+date\s*=\s*[`"']([^`"']*)[`"'])?[^>]*>\s*($version)\s*</signatures>")
    if (-not ($engine.Success -and $definitions.Success)) {
        throw 'Microsoft''s answer names no versions; a proxy may have answered instead'
    }
    [pscustomobject] @{
        EngineVersion     = $engine.Groups[1].Value
        DefinitionVersion = $definitions.Groups[2].Value
        Date              = $definitions.Groups[1].Value.Trim().Replace(' ', 'T')
    }
}

# The versions of the package in a folder, after every byte of it was read.
function Get-Proven([string] $folder) {
    $package = Join-Path $folder 'updates.zip'
    $manifest = Join-Path $folder 'manifest.json'
    if (-not ((Test-Path -LiteralPath $package -PathType Leaf) -and (Test-Path -LiteralPath $manifest -PathType Leaf))) {
        throw 'updates.zip or manifest.json is missing'
    }
    $versions = Get-Content -Raw -LiteralPath $manifest | ConvertFrom-Json
    foreach ($named in $versions.EngineVersion, $versions.DefinitionVersion) {
        if ($named -notmatch "^$version`$") { throw 'manifest.json names no versions' }
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

# Windows lets nobody rename what is open, nor a folder that holds something open: this waits for a quiet moment.
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

# What was served comes back should its successor not get there. What is damaged does not become n-1.
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

# `status.json` as replicas of this mirror and the checks of endpoints read it.
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
        # A sync that was ended between the two renames of a publication left nothing in the place of the package.
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
            catch { Write-Output "$($unit.Path) is served and will be replaced: $($_.Exception.Message)" }
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
        # The downloader fetches whatever its own manifests do not name, so it is told that this is there.
        New-Item -ItemType Directory -Force -Path $unit.Staged | Out-Null
        $unit.Offered | Select-Object -Property 'EngineVersion', 'DefinitionVersion' | ConvertTo-Json |
            Set-Content -LiteralPath (Join-Path $unit.Staged 'manifest.json') -Encoding Ascii
    }

    if ($needed) {
        # It writes into the current folder. Neither its exit status nor what it says is believed.
        Push-Location $work
        $ErrorActionPreference = 'Continue'
        try { & $downloader *> (Join-Path $work 'downloader.log') }
        catch { Write-Output "The downloader ended early: $($_.Exception.Message)" }
        $ErrorActionPreference = 'Stop'
        Pop-Location
    }

    foreach ($unit in $needed) {
        try {
            $fetched = Get-Proven $unit.Staged
            # The downloader asks for versions after the package. Only these are certain to belong to it.
            if (-not (Test-Same $fetched $unit.Offered)) { throw 'a release landed while it was fetched; the next sync fetches it' }
            if ($unit.Current -and (Test-Lower $fetched $unit.Current)) { throw 'lower versions are offered than those that are served' }
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
    $text = "The mirror could not be brought up to date. What was served before is still served.`n" + ($problems -join "`n") +
    "`nThe downloader's own words are in $(Join-Path $work 'downloader.log') and $($settings.logFilePath)."
    Write-Result 'Error' 2 $text
    exit 1
}
if ($published) { Write-Result 'Information' 1 ("The mirror serves new packages.`n" + ($published -join "`n")) }
else { Write-Result 'Information' 1 'The mirror is up to date.' }
exit 0
