#!/usr/bin/env bash
# Installs a headless browser for the tests of the HTML pages where none is found and this user may install packages.
# Where that is not possible, those tests are skipped, and say why.
for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable chrome; do
  if type -P "$name" > /dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && type -P apt-get > /dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  for name in chromium-headless-shell chromium; do
    { timeout 120 apt-get -qq update && timeout 300 apt-get -qq install --yes --no-install-recommends "$name"; } > /dev/null 2>&1 && exit 0
  done
fi
echo "No browser could be installed; the tests of the HTML pages in a browser are skipped." >&2
