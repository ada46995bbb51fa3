package perf

// Efficiency is what of a chip's figures an engine reaches in a task. The values were fitted to the published figures
// of the tuning half (package published), never to the held-out half; docs/perf.md says how well they do there.
type Efficiency struct {
	Arithmetic float64 // of the dense peak
	Memory     float64 // of the memory's bandwidth
	Layer      float64 // seconds of a layer that nothing hides: starts of kernels, and waiting for one another
	Spread     float64 // nine of ten tuning figures lie within this factor
}

type cell struct {
	task   Task
	engine string
}

// efficiencyOf is the efficiency of a task with an engine; false where the engine has none of its own.
func efficiencyOf(t Task, engine string) (Efficiency, bool) {
	if e, ok := fitted[cell{t, engine}]; ok {
		return e, engine != ""
	}
	return fitted[cell{t, ""}], false
}

var fitted = map[cell]Efficiency{
	{Train, ""}:     {0.6, 0.6, 0, 1.5},
	{PostTrain, ""}: {0.5, 0.6, 0, 1.5},
	{Prefill, ""}:   {0.5, 0.7, 0, 1.7},
	{Decode, ""}:    {0.5, 0.7, 2e-5, 1.7},
	{Serve, ""}:     {0.5, 0.6, 2e-5, 1.8},
	{Embed, ""}:     {0.5, 0.7, 0, 2},
}
