#!/usr/bin/env bash
# Fetches packages of a Debian release by apt and unpacks them into DIR/root: debian.sh SUITE DIR PACKAGE...
# It needs Debian on x86_64, no rights, and leaves the system's own packages and lists alone.
set -euo pipefail

fail() {
    echo "$1" >&2
    exit 1
}

[ $# -ge 3 ] || fail "usage: debian.sh SUITE DIR PACKAGE..."
suite=$1
mkdir -p "$2"
cd "$2"
shift 2
for tool in apt-get apt-config dpkg; do
    command -v $tool >/dev/null || fail "there is no $tool"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "this is not x86_64"
# shellcheck disable=SC1091
codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || fail "this is not Debian"
site=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Release: $codename" 'Component: main' | head -1)
[ -n "$site" ] || fail "apt knows no source of Debian $codename main to take the site of the packages from"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keys ] || fail "$keys is missing; apt install debian-archive-keyring"

# apt's own configuration (proxies, passwords) with another list of sources, and none of its hooks
rm -rf apt debs root
mkdir -p apt/none apt/preferences.d apt/lists/partial apt/cache/archives/partial debs root
touch apt/status
echo "deb [arch=amd64 signed-by=$keys] $site $suite main" >apt/sources.list
{
    apt-config dump | grep -Ev '^(Dir|APT::Update|DPkg|Binary|APT::Sandbox)' || true
    cat <<CONF
Dir::Etc::main "$PWD/apt/none.conf";
Dir::Etc::parts "$PWD/apt/none";
Dir::Etc::sourcelist "$PWD/apt/sources.list";
Dir::Etc::sourceparts "$PWD/apt/none";
Dir::Etc::preferences "$PWD/apt/none.pref";
Dir::Etc::preferencesparts "$PWD/apt/preferences.d";
Dir::State "$PWD/apt";
Dir::State::status "$PWD/apt/status";
Dir::Cache "$PWD/apt/cache";
APT::Sandbox::User "root";
CONF
} >apt/apt.conf
export APT_CONFIG=$PWD/apt/apt.conf
# Signatures and digests are checked by apt.
apt-get -qq update >apt.log 2>&1 || fail "apt can't read $suite from the site of $codename: $(tail -2 apt.log | tr '\n' ' ')"
(cd debs && apt-get -qq download "$@") >apt.log 2>&1 || fail "apt can't fetch the packages: $(tail -2 apt.log | tr '\n' ' ')"
for package in debs/*.deb; do
    dpkg -x "$package" root >apt.log 2>&1 || fail "$package can't be unpacked: $(tail -1 apt.log)"
done
rm -rf apt apt.log debs root/usr/share/doc
