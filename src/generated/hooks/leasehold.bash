# The words up to the cursor as they were typed: bash splits them at = and : as well. Sets words, and in at
# where in COMP_WORDS each begins.
_leasehold_words() {
    local line=${COMP_LINE:0:COMP_POINT} i
    words=() at=()
    for (( i = 0; i <= COMP_CWORD; i++ )); do
        if (( i == 0 )) || [[ $line == [[:space:]]* ]]; then
            words+=("${COMP_WORDS[i]}")
            at+=("$i")
            line=${line#"${line%%[![:space:]]*}"}
        else
            words[${#words[@]}-1]+=${COMP_WORDS[i]}
        fi
        line=${line#"${COMP_WORDS[i]}"}
    done
}

# Where among the words the lock's name stands. Fails where the subcommand takes none.
_leasehold_name_at() {
    local long short
    case ${words[1]-} in
@CASES@
        *) return 1 ;;
    esac
    for (( name_at = 2; name_at < ${#words[@]}; name_at++ )); do
        case ${words[name_at]} in
            --) (( ++name_at )); return ;;
            --*=*) ;;
            --*) [[ $long != *" ${words[name_at]} "* ]] || (( ++name_at )) ;;
            -?*) [[ ! ${words[name_at]} =~ $short ]] || (( ++name_at )) ;;
            *) return 0 ;;
        esac
    done
    return 0
}

# The command completes as if it stood alone.
_leasehold_command() {
    local first=$1 cur=${words[${#words[@]}-1]}
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "${at[first]}"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "${at[first]}"
    elif (( first == ${#words[@]} - 1 )) && [[ $cur != */* ]]; then
        COMPREPLY=($(compgen -c -- "$cur"))
    else
        # Files: bash's own default.
        COMPREPLY=()
    fi
}

_leasehold_or_names() {
    local words at name_at last cur before
    _leasehold_words
    last=$(( ${#words[@]} - 1 ))
    cur=${words[last]}
    if ! _leasehold_name_at || (( name_at > last )) || [[ $name_at -eq $last && $cur == -* ]]; then
        _leasehold "$@"
    elif (( name_at == last )); then
        COMPREPLY=($(compgen -W "$(leasehold complete-names "${words[@]:1:last-1}" 2>/dev/null)" -- "$cur"))
        # bash replaces only what stands behind the last = or : where it splits words at them.
        before=${cur%"${cur##*[=:]}"}
        [[ $COMP_WORDBREAKS != *[=:]* ]] || COMPREPLY=("${COMPREPLY[@]#"$before"}")
    elif [[ ${words[1]} != run ]]; then
        _leasehold "$@"
    elif [[ ${words[name_at + 1]} == -- ]]; then
        (( name_at + 1 == last )) || _leasehold_command $(( name_at + 2 ))
    elif [[ ${words[name_at + 1]} != -* ]]; then
        _leasehold_command $(( name_at + 1 ))
    fi
}
