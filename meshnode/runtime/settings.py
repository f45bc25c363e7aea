"""What a guest may use at most on this node, whatever its manifest asks for."""

from dataclasses import dataclass

from meshnode.caps import Caps
from meshnode.wire.limits import BODY_BYTES_MAX, MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """The operator's side of every limit; of a manifest's limit and this one the lower counts."""

    memory_bytes_max: int = 256 * MIB
    """Linear memory of one instance, the host's own buffers in it included."""
    run_ms_max: int = 10_000
    """Wall time of one call into a guest: `init`, `infer` or `predict`, its models included."""
    output_bytes_max: int = BODY_BYTES_MAX
    """All outputs of one call together; a batch is one call."""
    caps_allowed: Caps = Caps.CPU | Caps.CUDA | Caps.OPENCL | Caps.VPU | Caps.DSP | Caps.NN
    """Capabilities that a module may ask for here. Off unless an operator wants them: `nn.load`,
    because loading a model cannot be interrupted, and `wasi`."""
    load_bytes_max: int = 64 * MIB
    """Models that one instance may bring itself, together; only with `nn.load`."""
    load_encodings: tuple[int, ...] = (1, 5, 6)
    """What wasi-nn's `load` takes for ONNX: that, and "find out yourself" as WITX and as WAMR
    number it. Others may be added for guests that name another format and are given ONNX."""
    model_threads: int = 0
    """onnxruntime's threads for one operator; 0 leaves the choice to it (one a core)."""
    model_spin: bool = False
    """Whether those threads spin while they wait. Faster by some microseconds on a machine of
    one's own, ruinous where more processes than cores run models."""
    epoch_ms: int = 5
    """A runaway guest is stopped within this much after its limit. The ticking thread costs about
    1 % of a core at 5 ms, and only while a guest runs."""
    compile_s_max: float = 10.0
    """A compilation that takes longer is killed (60 KB can be made to take that long)."""
    compile_memory_bytes_max: int = 2048 * MIB
    """Address space of the compiling process."""
    log_lines_max: int = 32
    """Lines a guest may log in one call; more are dropped."""
    binding: str = "auto"
    """How guests are called: `auto` takes the fast way where the installed wasmtime is one that it
    was made for, `public` always wasmtime's public interface, some fifty times slower a call."""
