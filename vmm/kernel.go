package vmm

// KernelParameters returns the parameters with which Linux boots fastest in the machine that Command describes, and
// those that it needs there; see Documentation/admin-guide/kernel-parameters.txt of Linux. The caller adds its own
// behind them.
//
// Processor time from QEMU's start until PID 1 runs, Debian's kernel 6.1 as a vmlinux under TCG, the least of four:
// 2.32 s without these, 2.04 s without the self-tests of the cipher modules, 1.84 s without the patching of lock
// prefixes for a single processor as well (code that changes is slow under TCG), 1.75 s with four levels of page
// tables instead of the five of "-cpu max". The mitigations, made for a processor's own instructions and not for TCG's
// translation of them, cost another 0.2 s. Without measurable effect, and therefore not here: tsc=, lpj=,
// 8250.nr_uarts=, pci=lastbus=0, nokaslr, iommu=, random.trust_cpu, audit=, lsm=.
//
// Under TCG the kernel's test of its timer counts ticks against a loop of instructions. On a busy host it finds too few
// and panics ("IO-APIC + timer doesn't work!"); under KVM the kernel leaves it out by itself.
func KernelParameters(accel Accel) []string {
	words := []string{
		"console=ttyS0",     // the serial port that Command adds
		"quiet",             // warnings still appear
		"panic=-1",          // restart at once, which "-no-reboot" makes the end of QEMU
		"cryptomgr.notests", // the module's self-tests
		"noreplace-smp",     // keep lock prefixes
	}
	if accel == TCG {
		words = append(words, "mitigations=off", "no_timer_check")
	}
	return words
}
