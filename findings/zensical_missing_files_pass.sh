#!/usr/bin/env bash
# zensical 0.0.73: `build --strict` passes a link to a file that is not there, and a picture that is not, unless it is a page.
#
# Guess: as `mkdocs build --strict` does with the same mkdocs.yml, it names each of the three links and stops; its documentation says that it
# validates all internal links.
# Seen: the missing page is named and stops the build; the missing JSON file and the missing picture are left as they are, and with these two
# alone it says "No issues found". mkdocs 1.6.1 names both.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet zensical==0.0.73 mkdocs==1.6.1
cd "$folder"
mkdir docs
echo "site_name: links" > mkdocs.yml
zensical() { venv/bin/zensical build --clean --strict 2>&1 | sed 's/\x1b\[[0-9;]*m//g'; }

echo '# Links
[page](nowhere.md) [file](nowhere.json) ![picture](nowhere.png)' > docs/index.md
seen=$(zensical || true)
grep "issue" <<< "$seen"
grep --quiet "1 issue found" <<< "$seen"

echo '# Links
[file](nowhere.json) ![picture](nowhere.png)' > docs/index.md
seen=$(zensical)
grep "issue" <<< "$seen"
grep --quiet "No issues found" <<< "$seen"

if seen=$(venv/bin/mkdocs build --strict 2>&1); then exit 1; fi
grep "WARNING" <<< "$seen"
[ "$(grep --count "is not found among documentation files" <<< "$seen")" = 2 ]
