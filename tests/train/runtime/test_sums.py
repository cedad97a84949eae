from vit_tickets.train.runtime.sums import Sums, forget_peak, peak_memory_mib


def test_steps_add_up_and_the_peak_is_the_largest():
    sums = Sums()
    sums.add(2.0, 0.5, 1, seconds=3.0, waited=1.0, memory_mib=70.0, macs=2.0**52)
    sums.add(1.5, 0.25, 2, seconds=1.0, waited=0.0, memory_mib=60.0, macs=3.0)
    assert sums == Sums(3.5, 0.75, 3, seconds=4.0, waited=1.0, peak_memory_mib=70.0, macs=2**52 + 3)
    sums.add(0.0, 0.0, 0, seconds=1.0, waited=0.0, memory_mib=0.0, macs=float("nan"))
    sums.add(0.0, 0.0, 0, seconds=1.0, waited=0.0, memory_mib=0.0, macs=3.0)
    assert sums.macs is None  # unknown, once a step's are


def test_speed_counts_images_of_all_steps():
    speed = Sums(seconds=4.0, waited=1.0, peak_memory_mib=70.0).speed(steps=2, batch_size=8)
    assert speed == {"images_per_s": 4.0, "step_ms": 2000.0, "data_wait": 0.25, "peak_memory_mib": 70.0}


def test_memory_of_this_process_is_in_mib():
    before = peak_memory_mib("cpu")
    held = bytearray(b"x") * (64 << 20)
    assert max(before, 64) <= peak_memory_mib("cpu") < before + 1024
    assert len(held) == 64 << 20


def test_the_peak_of_a_cpu_cannot_be_reset():
    before = peak_memory_mib("cpu")
    forget_peak("cpu")
    assert peak_memory_mib("cpu") >= before
