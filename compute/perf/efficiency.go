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
	{Decode, ""}:                  {0.550, 0.729, 0.00013, 2.00},
	{Decode, "llama.cpp"}:         {0.550, 0.729, 0.00013, 1.66},
	{Embed, ""}:                   {0.618, 0.668, 0.00011, 1.63}, // nobody's figures were found: prefill's
	{PostTrain, ""}:               {0.543, 0.713, 3.1e-05, 1.63},
	{PostTrain, "mindformers"}:    {0.614, 0.888, 1.1e-05, 1.36},
	{PostTrain, "nemo"}:           {0.481, 0.573, 5.1e-05, 1.15},
	{Prefill, ""}:                 {0.618, 0.668, 0.00011, 1.63},
	{Prefill, "llama.cpp"}:        {0.537, 0.700, 7.1e-06, 1.29},
	{Prefill, "optimum-habana"}:   {0.625, 0.741, 0.00012, 1.15},
	{Prefill, "tensorrt-llm-0.6"}: {0.704, 0.574, 0.0002, 1.36},
	{Serve, ""}:                   {0.476, 0.772, 0.00022, 1.80},
	{Serve, "lmdeploy"}:           {0.642, 0.887, 0.00015, 1.28},
	{Serve, "optimum-habana"}:     {0.447, 0.646, 5.5e-05, 1.47},
	{Serve, "tensorrt-llm"}:       {0.696, 0.985, 0.00039, 1.35},
	{Serve, "tensorrt-llm-0.6"}:   {0.775, 1.000, 0.00044, 1.50},
	{Serve, "vllm"}:               {0.159, 0.484, 6.2e-05, 1.28},
	{Train, ""}:                   {0.660, 0.318, 0.00034, 1.51},
	{Train, "llm-foundry"}:        {0.761, 0.268, 0.001, 1.26},
	{Train, "nemo"}:               {0.550, 0.318, 7.5e-06, 1.18},
	{Train, "torchtitan"}:         {0.688, 0.375, 1e-05, 1.15},
}
