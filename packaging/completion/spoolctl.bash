# bash completion for spoolctl

# Asks spoolctl itself, with the options that say which spool is meant.
_spoolctl_ask() {
	local i args=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-c | --config | -s | --socket)
			if [[ ${COMP_WORDS[i + 1]} == = ]]; then
				args+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 2]}")
			else
				args+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}")
			fi
			;;
		esac
	done
	command spoolctl "${args[@]}" --color never "$@" 2>/dev/null
}

_spoolctl_users() {
	COMPREPLY=($(compgen -W "$(_spoolctl_ask user list)" -- "$1"))
}

# The numbers of jobs: the first column of the list.
_spoolctl_jobs() {
	local word=$1
	shift
	COMPREPLY=($(compgen -W "$(_spoolctl_ask list --limit 200 "$@" |
		awk 'NR > 1 && $1 ~ /^[0-9]+$/ { print $1 }')" -- "$word"))
}

_spoolctl_files() {
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# Finds the command, past options and their values; sets command and position
# of the words after it.
_spoolctl_command() {
	local i
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		=) ((i++)) ;;
		-c | --config | -s | --socket | -C | --color)
			# "--config=FILE" comes as three words.
			[[ ${COMP_WORDS[i + 1]} == = ]] || ((i++))
			;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]}
			command_at=$i
			return
			;;
		esac
	done
}

_spoolctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command='' command_at=0
	local common='--config --json --color --socket --help --version'
	local commands='status list show log explain submit retry cancel hold release start stop
		rescan reload user doctor help'
	local states='arriving pending held queued processing done failed canceled'
	COMPREPLY=()
	_spoolctl_command

	if [[ $prev == = ]] && ((COMP_CWORD > 1)); then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $cur == = ]]; then
		cur=''
	fi
	case $prev in
	-c | --config | -s | --socket)
		_spoolctl_files "$cur"
		return
		;;
	-C | --color)
		COMPREPLY=($(compgen -W 'auto always never' -- "$cur"))
		return
		;;
	--state)
		COMPREPLY=($(compgen -W "$states" -- "$cur"))
		return
		;;
	-u | --user)
		_spoolctl_users "$cur"
		return
		;;
	-n | --limit | --name | --reason | -r) return ;;
	--uid)
		COMPREPLY=($(compgen -u -- "$cur"))
		return
		;;
	--gid)
		COMPREPLY=($(compgen -g -- "$cur"))
		return
		;;
	esac

	if [[ -z $command ]]; then
		COMPREPLY=($(compgen -W "$commands $common" -- "$cur"))
		return
	fi
	if [[ $cur == -* ]]; then
		local own=''
		case $command in
		status) own='--watch --all --busy' ;;
		list) own='--state --limit' ;;
		log) own='--follow' ;;
		submit) own='--user --name --wait' ;;
		retry) own='--failed' ;;
		cancel) own='--user' ;;
		hold) own='--user --reason' ;;
		release) own='--user' ;;
		user) own='--uid --gid' ;;
		esac
		COMPREPLY=($(compgen -W "$own $common" -- "$cur"))
		return
	fi
	case $command in
	status | list | rescan) _spoolctl_users "$cur" ;;
	show | log | cancel) _spoolctl_jobs "$cur" ;;
	hold) _spoolctl_jobs "$cur" --state pending ;;
	release) _spoolctl_jobs "$cur" --state held ;;
	retry)
		if [[ " ${COMP_WORDS[*]} " == *' --failed '* || " ${COMP_WORDS[*]} " == *' -f '* ]]; then
			_spoolctl_users "$cur"
		else
			_spoolctl_jobs "$cur" --state failed
		fi
		;;
	explain)
		if [[ $cur =~ ^[0-9]+$ ]]; then
			_spoolctl_jobs "$cur"
		else
			_spoolctl_files "$cur"
		fi
		;;
	submit) _spoolctl_files "$cur" ;;
	user)
		if ((COMP_CWORD == command_at + 1)); then
			COMPREPLY=($(compgen -W 'add list check' -- "$cur"))
		elif [[ ${COMP_WORDS[command_at + 1]} == check ]]; then
			_spoolctl_users "$cur"
		elif [[ ${COMP_WORDS[command_at + 1]} == add ]]; then
			COMPREPLY=($(compgen -u -- "$cur"))
		fi
		;;
	help) COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
	esac
}

complete -F _spoolctl spoolctl
