// Package kernel is the arithmetic of the native engine: matrix products, vector functions and the worker pool they
// run on, in portable Go with AVX2 and AVX-512 assembly beside it.
//
// Rules for callers:
//
//   - Tensors are row-major []float32. Slices must hold the shape they are said to hold; a shorter one panics before
//     any assembly runs. Outputs must not overlap inputs unless the function says so.
//   - A result depends on the inputs and the selected path only, never on the size of the pool. One output element is
//     summed by one goroutine, over k in ascending order.
//   - The path is picked once at start (AVX-512, else AVX2 with FMA, else portable); the environment variable
//     TRIARCH_KERNEL names another. The build tag noasm leaves the assembly out.
//   - NaN and infinity follow IEEE 754 through the products. The vector functions say what they do with them.
//
// The assembly is generated: models/native/kernel/gen holds the generator, a module of its own, so that the program
// does not depend on its assembler library. Run go generate in this folder after changing it; gen/sums.txt ties the
// generator to its output, and a test checks it.
package kernel

//go:generate go run -C gen . -out ../kernel_amd64.s -stubs ../stubs_amd64.go -pkg kernel
//go:generate go run -C gen . sums
