# Installs Microsoft's downloader from a zip of its repository or from a folder. The settings beside it are not changed.
# Runs through ansible.windows.win_powershell.
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $Source,
    [string] $Destination,
    [string] $Commit
)

$ErrorActionPreference = 'Stop'
$name = Split-Path -Leaf $Destination

function Read-FromFolder {
    foreach ($folder in $Source, (Join-Path $Source 'linux/definition_downloader')) {
        $file = Join-Path $folder $name
        if (Test-Path -LiteralPath $file -PathType Leaf) { return , [IO.File]::ReadAllBytes($file) }
    }
    throw "$Source contains no $name. It must be the folder of a clone or unpacked zip of Microsoft's mdatp-xplat repository."
}

function Read-FromZip {
    Add-Type -AssemblyName System.IO.Compression.FileSystem
    $zip = [IO.Compression.ZipFile]::OpenRead($Source)
    try {
        $entries = @($zip.Entries | Where-Object { $_.Name -eq $name })
        if ($entries.Count -ne 1) { throw "$Source is not a zip of Microsoft's mdatp-xplat repository: it contains
        $($entries.Count) files named $name." }
        # git writes the commit to the comment at the end of a zip; GitHub also appends it to the name of the folder in
        # the zip.
        $bytes = [IO.File]::ReadAllBytes($Source)
        $comment = [Text.Encoding]::ASCII.GetString($bytes, [Math]::Max(0, $bytes.Length - 40), [Math]::Min(40, $bytes.Length))
        if ($Commit -and $comment -ne $Commit -and -not $entries[0].FullName.Split('/')[0].EndsWith("-$Commit")) {
            throw "$Source is not a zip of the commit $Commit. Nothing was changed. Give the zip of that commit, or change mirror_source_script_commit."
        }
        $memory = New-Object IO.MemoryStream
        $stream = $entries[0].Open()
        $stream.CopyTo($memory)
        $stream.Dispose()
        return , $memory.ToArray()
    }
    finally {
        $zip.Dispose()
    }
}

if (Test-Path -LiteralPath $Source -PathType Container) { $content = Read-FromFolder } else { $content = Read-FromZip }
$same = (Test-Path -LiteralPath $Destination) -and
[Convert]::ToBase64String([IO.File]::ReadAllBytes($Destination)) -eq [Convert]::ToBase64String($content)
$Ansible.Changed = -not $same
if (-not $same -and $PSCmdlet.ShouldProcess($Destination)) {
    [IO.File]::WriteAllBytes($Destination, $content)
}
