# Completion of hirtectl for fish. hirtectl itself knows its words, and asks the manager for nodes and
# units.

function __hirtectl_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --current-token --cut-at-cursor | string unescape)
    $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null
end

complete --command hirtectl --no-files --arguments '(__hirtectl_complete)'
