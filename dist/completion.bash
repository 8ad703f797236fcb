# bash completion of runvm(8): commands, flags, container ids, and files where runvm knows nothing. runvm itself is asked,
# so that this never falls behind.

_runvm() {
	local cur=${COMP_WORDS[COMP_CWORD]} typed=("${COMP_WORDS[@]:0:COMP_CWORD}")
	# The value of a flag that names a file: bash's own completion follows.
	case ${COMP_WORDS[COMP_CWORD - 1]} in
	-b | --bundle | --*-socket | --pid-file | --process | --resources | --log | --root | --config | --*-path) return ;;
	esac
	# Of a flag that is not complete yet only the dash: runvm lists all, compgen chooses.
	[[ $cur != -* ]] || typed+=(-)
	mapfile -t COMPREPLY < <(compgen -W "$("${typed[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur")
}

complete -o bashdefault -o default -F _runvm runvm
