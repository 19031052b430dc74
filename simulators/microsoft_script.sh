#!/bin/bash
# Simulates Microsoft's download script, with the faults that were measured in the original. Only for tests.
#
# Install it in a folder as xplat_offline_updates_download.sh, together with settings.json. DEFINITION_SERVICE is the URL
# of the service, such as https://127.0.0.1:8443/fwlink/ (in the original, the URL is fixed). With SCRIPT_EDITION=1.2, the
# script behaves like the version of 2026 instead of that of 2024; see the last paragraph.
#
# Faults of the original: If a download fails, the script ends with status 0 and skips all further downloads. It saves any
# response as a package. It asks for the versions after the package. It relies on its own manifests and never checks a
# package. It has no lock, no time limits and no retries. It writes temp.txt to the current directory, unfinished files to
# the served folder, and manifests in place. If jq, curl or settings are missing, it reports this and ends with status 0.
#
# The version of 2026 uses `set -u`. It downloads the versions to a file in TMPDIR. If this download fails, the script ends
# with status 1, because its error handler is called with too few arguments. The trap that removes the file uses a local
# variable that no longer exists when the trap runs. So after the first platform that already has a manifest, the script
# ends with status 1 and does not try the next platform.

edition="${SCRIPT_EDITION:-0.0.2}"
asked=
: "${HOME:?must be set, as for the original}"
service="${DEFINITION_SERVICE:?must be the URL of the service}"
here="$(dirname "$0")"

say() {
    echo "$1"
    printf '%s\n%s\n----------\n' "$(date)" "$1" >> "$log"
}

fail() {
    # In the original, the status of the failed command has been overwritten by a test.
    echo "Error (0): $1"
    rm -f "$2" "$3"
    exit 0
}

setting() {
    local value
    value="$(jq -r ".$1" "$here/settings.json" 2> /dev/null)"
    if [ "$value" = null ]; then echo "$2"; else echo "$value"; fi
}

engine_in() {
    sed -n 's:.*<engine>\(.*\)</engine>.*:\1:p' "$1"
}

definitions_in() {
    sed -n 's:.*<signatures date="[^"]*">\(.*\)</signatures>.*:\1:p' "$1"
}

# True if the manifest contains the versions that the service offers. The package itself is not checked.
up_to_date() {
    local scratch=temp.txt
    if [ "$edition" = 1.2 ]; then scratch="$(mktemp -t mdatp_manifest.XXXXXX)"; fi
    if ! curl -L -o "$scratch" "$2"; then
        if [ "$edition" = 1.2 ]; then dies 'an argument: unbound variable'; fi
        fail "no versions from $2"
    fi
    asked=yes
    sync
    [ "$(jq -r .EngineVersion "$1")" = "$(engine_in "$scratch")" ] \
        && [ "$(jq -r .DefinitionVersion "$1")" = "$(definitions_in "$scratch")" ]
}

dies() {
    echo "$0: $1" >&2
    exit 1
}

back_up() {
    mkdir -p "$2"
    if [ -f "$1/updates.zip" ] && [ -f "$1/manifest.json" ]; then
        cp "$1/updates.zip" "$1/manifest.json" "$2"
    fi
}

download() {
    local platform="$1" ring="$2" arch="$3" address folder
    folder="$downloads/$platform/$ring/arch_$arch"
    if [ "$platform" = linux ]; then address="$service?linkid=2144709"; else address="$service?linkid=2120136"; fi
    if [ "$arch" = arm64 ]; then address="$address&arch=arm64"; fi
    if [ "$ring" = preview ]; then address="$address&engRing=3&sigRing=1"; fi
    mkdir -p "$folder"

    if [ -f "$folder/manifest.json" ] && up_to_date "$folder/manifest.json" "$address&action=info"; then
        echo "No new update available"
        return
    fi
    if [ "$backup" = true ]; then
        back_up "$folder" "$downloads/$platform/${ring}_back/arch_$arch"
    fi

    echo "Downloading $address"
    curl -L -o "$folder/updates.zip_temp" "$address" \
        || fail "no package from $address" "$folder/updates.zip_temp" "$folder/manifest.xml"
    curl -L -o "$folder/manifest.xml" "$address&action=info" \
        || fail "no versions from $address" "$folder/updates.zip_temp" "$folder/manifest.xml"
    mv "$folder/updates.zip_temp" "$folder/updates.zip"

    say "Engine version: $(engine_in "$folder/manifest.xml")"
    say "Definition version: $(definitions_in "$folder/manifest.xml")"
    jq -n --arg engine "$(engine_in "$folder/manifest.xml")" \
        --arg definitions "$(definitions_in "$folder/manifest.xml")" \
        '{EngineVersion: $engine, DefinitionVersion: $definitions}' > "$folder/manifest.json"
    rm -f "$folder/manifest.xml"
}

for program in jq curl; do
    if ! command -v "$program" > /dev/null; then
        echo "$program is not installed. Please install it."
        exit 0
    fi
done
if ! [ -f "$here/settings.json" ]; then
    echo "There is no settings.json beside the script."
    exit 0
fi

downloads="$(setting downloadFolder "$HOME/wdav-update")"
log="$(setting logFilePath /tmp/mdatp_offline_updates.log)"
backup="$(setting backupPreviousUpdates false)"
rings=(production)
if [ "$(setting downloadPreviewUpdates false)" = true ]; then rings+=(preview); fi

touch "$log"
say "Script started."
for platform in linux mac; do
    if [ "$(setting "download${platform^}Updates" false)" = true ]; then
        for ring in "${rings[@]}"; do
            for arch in x86_64 arm64; do
                download "$platform" "$ring" "$arch"
            done
        done
        if [ "$edition$asked" = 1.2yes ]; then dies 'tempFile: unbound variable'; fi
    fi
done
say "Script completed."
