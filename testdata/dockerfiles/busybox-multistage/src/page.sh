# page.sh TITLE FILE: prints FILE as a small page.
echo "<!doctype html>"
echo "<h1>$1</h1>"
echo "<pre>"
cat "$2"
echo "</pre>"
