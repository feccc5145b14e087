# Sourced by scripts/serve and scripts/test: checks what the machine has and installs what the project needs.
# Everything lands inside the repository: .venv, .venv-ome-zarr, node_modules of the page and of the tests'
# provider of logins, and the built page.

step() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$candidate
      return
    fi
  done
  fail "Python 3.11 or newer is missing; install it: apt-get install python3 python3-venv"
}

check_prerequisites() {
  find_python
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv module is missing; install it: apt-get install python3-venv"
  node_hint="install Node.js 20.19 or newer, for example from nodejs.org's Debian packages, then run again"
  command -v node >/dev/null 2>&1 || fail "Node.js is missing; $node_hint"
  version=$(node --version) || fail "Node.js does not start; $node_hint"
  IFS=. read -r major minor _ <<< "${version#v}"
  [ "$major" -gt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -ge 19 ]; } ||
    fail "Node.js is ${version#v}; $node_hint"
  command -v npm >/dev/null 2>&1 || fail "npm is missing; install it: apt-get install npm"
}

# install_package EXTRAS: the package, editable, with these extras; again only when pyproject.toml changes.
install_package() {
  extras=$1
  stamp=.venv/.installed-$(printf '%s' "$extras" | tr ',' '-')
  [ -x .venv/bin/python ] || { step "making a virtual environment in .venv"; "$python" -m venv .venv; }
  if [ -f "$stamp" ] && cmp -s pyproject.toml "$stamp"; then return; fi
  step "installing Imarium and what it needs ($extras); the first time takes a minute or two"
  quiet=-q
  [ -t 2 ] && quiet=
  .venv/bin/python -m pip install --disable-pip-version-check $quiet -e ".[$extras]" >&2 ||
    fail "pip could not install the package; its message is above"
  cp pyproject.toml "$stamp"
}

# install_ome_zarr: the reference reader of OME-Zarr, for tests alone. It wants an older pydantic and brings
# thirty packages along, so it has an environment of its own, on top of the packages of .venv.
install_ome_zarr() {
  wanted='ome-zarr==0.18.*'
  stamp=.venv-ome-zarr/.installed
  [ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && return
  step "installing the reference reader of OME-Zarr"
  .venv/bin/python -m venv --clear .venv-ome-zarr
  packages='import sysconfig; print(sysconfig.get_path("purelib"))'
  .venv/bin/python -c "$packages" > "$(.venv-ome-zarr/bin/python -c "$packages")/base.pth"
  .venv-ome-zarr/bin/python -m pip install --disable-pip-version-check -q "$wanted" >&2 ||
    fail "pip could not install $wanted; its message is above"
  printf '%s' "$wanted" > $stamp
}

web_sources() { find web -type f -not -path 'web/node_modules/*' -not -name '*.tsbuildinfo' | LC_ALL=C sort; }

install_web_packages() {
  if [ -f web/node_modules/.imarium-lock ] && cmp -s web/package-lock.json web/node_modules/.imarium-lock; then
    return
  fi
  step "installing the page's packages (npm ci)"
  (cd web && npm ci --no-fund --no-audit --loglevel=error >&2) || fail "npm ci failed; its message is above"
  cp web/package-lock.json web/node_modules/.imarium-lock
}

# install_login_provider: a provider of logins (OpenID Connect), for tests alone.
install_login_provider() {
  folder=tests/access/oidc_provider
  if cmp -s $folder/package-lock.json $folder/node_modules/.imarium-lock; then return; fi
  step "installing the tests' provider of logins (npm ci)"
  (cd $folder && npm ci --no-fund --no-audit --loglevel=error >&2) || fail "npm ci failed; its message is above"
  cp $folder/package-lock.json $folder/node_modules/.imarium-lock
}

# build_page: npm ci and vite build, again only when a source of the page changed.
build_page() {
  built=src/imarium/faces/http/web
  digest=$(web_sources | xargs -d '\n' sha256sum | sha256sum | cut -d' ' -f1)
  if [ -f $built/index.html ] && [ "$(cat $built/.sources 2>/dev/null)" = "$digest" ]; then return; fi
  install_web_packages
  step "building the page (vite build)"
  (cd web && npm run --silent build >&2) || fail "the page could not be built; the message is above"
  printf '%s' "$digest" > $built/.sources
}
