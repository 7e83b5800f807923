# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for virtdisk(1). A test compares the options of each verb with `virtdisk VERB --help`.

_virtdisk_devices() {
  virtdisk list --no-ask-password 2>/dev/null | while read -r device _; do
    case $device in
      /dev/*) printf '%s\n' "$device" ;;
    esac
  done
}

# Images are the last column, so a name with spaces stays whole.
_virtdisk_images() {
  virtdisk list --no-ask-password 2>/dev/null | while read -r device _ _ _ _ _ _ image; do
    case $device in
      /dev/*) printf '%s\n' "$image" ;;
    esac
  done
}

_virtdisk_jobs() {
  virtdisk jobs --no-ask-password 2>/dev/null | while read -r job _; do
    [[ $job == JOB ]] || printf '%s\n' "$job"
  done
}

_virtdisk_words() {
  local IFS=$'\n' word
  COMPREPLY=()
  for word in $(compgen -W "$1" -- "$cur"); do
    COMPREPLY+=("$(printf '%q' "$word")")
  done
}

_virtdisk() {
  local cur prev verb='' word i options
  local verbs='attach break-mirror chain changes check compact convert create detach expand info jobs list merge metadata mirror monitor mount nbd resize set unmount'
  local common='--help --version --quiet --json --no-ask-password'

  COMPREPLY=()
  cur=${COMP_WORDS[COMP_CWORD]}
  prev=${COMP_WORDS[COMP_CWORD - 1]}
  # bash makes words of "--option=value" at the equals sign.
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word != -* ]]; then
      verb=$word
      break
    fi
  done

  case $verb in
    attach) options='--read-only --lifetime= --detach-on-unmount --format= --sector-size= --partition-scan --no-partition-scan --owner= --group= --mode= --offset= --size= --no-automount --route= --zero-copy' ;;
    break-mirror) options='--format=' ;;
    chain) options='--format=' ;;
    changes) options='--since= --format=' ;;
    check) options='--repair --format=' ;;
    compact) options='--no-zero-scan --no-block-moves --file-systems --format= --detach-job' ;;
    convert) options='--format= --source-format= --fixed --dynamic --sparse --block-size= --sector-size= --physical-sector-size= --verify --detach-job' ;;
    create) options='--size= --type= --parent= --source= --source-format= --verify --format= --block-size= --sector-size= --physical-sector-size= --sparse --identifier= --owner= --group= --mode= --detach-job' ;;
    detach) options='--force --when-idle' ;;
    expand) options='--format= --detach-job' ;;
    info) options='--format=' ;;
    jobs) options='' ;;
    list) options='' ;;
    merge) options='--depth= --from= --to= --format= --detach-job' ;;
    metadata) options='' ;;
    mirror) options='--break --existing --format= --detach-job' ;;
    monitor) options='' ;;
    mount) options='--partition= --options= --read-only --format=' ;;
    nbd) options='--read-only --socket= --descriptor --format=' ;;
    resize) options='--to-smallest --unsafe --format= --detach-job' ;;
    set) options='--parent= --depth= --linkage= --ignore-id-mismatch --identifier= --disk-id= --physical-sector-size= --change-tracking= --format=' ;;
    unmount) options='--detach' ;;
    *)
      COMPREPLY=($(compgen -W "$verbs $common" -- "$cur"))
      return
      ;;
  esac

  case $prev in
    --lifetime) COMPREPLY=($(compgen -W 'session permanent boot' -- "$cur")) ; return ;;
    --format | --source-format) COMPREPLY=($(compgen -W 'auto iso raw vhd vhdx' -- "$cur")) ; return ;;
    --sector-size) COMPREPLY=($(compgen -W '512 1024 2048 4096' -- "$cur")) ; return ;;
    --physical-sector-size) COMPREPLY=($(compgen -W '512 4096' -- "$cur")) ; return ;;
    --change-tracking) COMPREPLY=($(compgen -W 'on off' -- "$cur")) ; return ;;
    --type) COMPREPLY=($(compgen -W 'dynamic fixed differencing' -- "$cur")) ; return ;;
    --route) COMPREPLY=($(compgen -W 'loop ublk fuse' -- "$cur")) ; return ;;
    --parent | --source | --socket) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")) ; return ;;
    --owner) COMPREPLY=($(compgen -u -- "$cur")) ; return ;;
    --group) COMPREPLY=($(compgen -g -- "$cur")) ; return ;;
    --mode | --offset | --size | --block-size | --identifier | --disk-id | --linkage | --depth | --from | --to | --partition | --options) return ;;
  esac

  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options $common" -- "$cur"))
    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
    return
  fi

  case $verb in
    jobs)
      case $prev in
        cancel | wait) COMPREPLY=($(compgen -W "$(_virtdisk_jobs)" -- "$cur")) ;;
        *) COMPREPLY=($(compgen -W 'cancel wait' -- "$cur")) ;;
      esac
      ;;
    changes)
      if [[ $prev == changes ]]; then
        COMPREPLY=($(compgen -W 'enable disable seal state list' -- "$cur"))
      else
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "$cur"))
      fi
      ;;
    metadata)
      if [[ $prev == metadata ]]; then
        COMPREPLY=($(compgen -W 'list get set delete' -- "$cur"))
      else
        compopt -o filenames
        COMPREPLY=($(compgen -f -- "$cur"))
      fi
      ;;
    attach | break-mirror | chain | check | compact | convert | create | expand | info | merge | mirror | mount | nbd | resize | set) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")) ;;
  esac
  case $verb in
    detach | info | mount | unmount)
      local -a files=("${COMPREPLY[@]}")
      _virtdisk_words "$(_virtdisk_devices; _virtdisk_images)"
      COMPREPLY+=("${files[@]}")
      ;;
  esac
}

complete -F _virtdisk virtdisk
