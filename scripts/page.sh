# A page of HTML from a template; sourced, not run.
# shellcheck shell=bash

# html_text <text>: what shows the text in a page, wherever it stands there.
html_text() {
  local text="$1"
  text="${text//&/"&amp;"}" text="${text//</"&lt;"}" text="${text//>/"&gt;"}"
  text="${text//\"/"&quot;"}" text="${text//\'/"&#39;"}"
  printf '%s' "$text"
}

# fill_page <template> <name> <text>...: each {{name}} of the template becomes its text. What a text has of such names stays
# text: the template is gone through once. Fails where the template has another name.
fill_page() {
  local rest="$1" page="" name
  shift
  local -A texts=()
  while [ $# -ge 2 ]; do
    texts["$1"]="$2"
    shift 2
  done
  while [[ "$rest" == *"{{"*"}}"* ]]; do
    page+="${rest%%"{{"*}"
    rest="${rest#*"{{"}"
    name="${rest%%"}}"*}"
    rest="${rest#*"}}"}"
    [ -n "${texts["$name"]+set}" ] || { printf 'the page has an unknown {{%s}}\n' "$name" >&2; return 1; }
    page+="$(html_text "${texts["$name"]}")"
  done
  printf '%s\n' "$page$rest"
}
