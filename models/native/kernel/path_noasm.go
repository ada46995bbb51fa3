package kernel

func paths() []*path { return []*path{portablePath} }
