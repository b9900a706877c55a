return {refresh = {displayName = "Refresh", iconClass = "fa fa-fw fa-sync"}}
