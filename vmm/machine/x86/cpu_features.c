#include "vmm/machine/x86/cpu_features.h"

#include "vmm/config/text.h"

#include <asm/kvm_para.h>
#include <limits.h>
#include <string.h>

#define EAX(name, leaf, subleaf, bit)                                                                                  \
    {                                                                                                                  \
        name, CPUID_EAX, subleaf, leaf, UINT32_C(1) << (bit)                                                           \
    }
#define EBX(name, leaf, subleaf, bit)                                                                                  \
    {                                                                                                                  \
        name, CPUID_EBX, subleaf, leaf, UINT32_C(1) << (bit)                                                           \
    }
#define ECX(name, leaf, subleaf, bit)                                                                                  \
    {                                                                                                                  \
        name, CPUID_ECX, subleaf, leaf, UINT32_C(1) << (bit)                                                           \
    }
#define EDX(name, leaf, subleaf, bit)                                                                                  \
    {                                                                                                                  \
        name, CPUID_EDX, subleaf, leaf, UINT32_C(1) << (bit)                                                           \
    }

/* clang-format off */
static const struct cpu_feature features[] = {
    /* Intel SDM vol. 2A, CPUID, leaf 01H */
    EDX("fpu", 0x1, 0, 0),
    EDX("vme", 0x1, 0, 1),
    EDX("de", 0x1, 0, 2),
    EDX("pse", 0x1, 0, 3),
    EDX("tsc", 0x1, 0, 4),
    EDX("msr", 0x1, 0, 5),
    EDX("pae", 0x1, 0, 6),
    EDX("mce", 0x1, 0, 7),
    EDX("cx8", 0x1, 0, 8),
    EDX("apic", 0x1, 0, 9),
    EDX("sep", 0x1, 0, 11),
    EDX("mtrr", 0x1, 0, 12),
    EDX("pge", 0x1, 0, 13),
    EDX("mca", 0x1, 0, 14),
    EDX("cmov", 0x1, 0, 15),
    EDX("pat", 0x1, 0, 16),
    EDX("pse36", 0x1, 0, 17),
    EDX("pn", 0x1, 0, 18),
    EDX("clflush", 0x1, 0, 19),
    EDX("dts", 0x1, 0, 21),
    EDX("acpi", 0x1, 0, 22),
    EDX("mmx", 0x1, 0, 23),
    EDX("fxsr", 0x1, 0, 24),
    EDX("sse", 0x1, 0, 25),
    EDX("sse2", 0x1, 0, 26),
    EDX("ss", 0x1, 0, 27),
    EDX("ht", 0x1, 0, 28),
    EDX("tm", 0x1, 0, 29),
    EDX("pbe", 0x1, 0, 31),
    ECX("pni", 0x1, 0, 0),
    ECX("pclmulqdq", 0x1, 0, 1),
    ECX("dtes64", 0x1, 0, 2),
    ECX("monitor", 0x1, 0, 3),
    ECX("ds_cpl", 0x1, 0, 4),
    ECX("vmx", 0x1, 0, 5),
    ECX("smx", 0x1, 0, 6),
    ECX("est", 0x1, 0, 7),
    ECX("tm2", 0x1, 0, 8),
    ECX("ssse3", 0x1, 0, 9),
    ECX("cid", 0x1, 0, 10),
    ECX("sdbg", 0x1, 0, 11),
    ECX("fma", 0x1, 0, 12),
    ECX("cx16", 0x1, 0, 13),
    ECX("xtpr", 0x1, 0, 14),
    ECX("pdcm", 0x1, 0, 15),
    ECX("pcid", 0x1, 0, 17),
    ECX("dca", 0x1, 0, 18),
    ECX("sse4_1", 0x1, 0, 19),
    ECX("sse4_2", 0x1, 0, 20),
    ECX("x2apic", 0x1, 0, 21),
    ECX("movbe", 0x1, 0, 22),
    ECX("popcnt", 0x1, 0, 23),
    ECX("tsc_deadline_timer", 0x1, 0, 24),
    ECX("aes", 0x1, 0, 25),
    ECX("xsave", 0x1, 0, 26),
    ECX("osxsave", 0x1, 0, 27),
    ECX("avx", 0x1, 0, 28),
    ECX("f16c", 0x1, 0, 29),
    ECX("rdrand", 0x1, 0, 30),
    ECX("hypervisor", 0x1, 0, 31),
    /* Intel SDM vol. 2A, CPUID, leaf 06H */
    EAX("dtherm", 0x6, 0, 0),
    EAX("ida", 0x6, 0, 1),
    EAX("arat", 0x6, 0, 2),
    EAX("pln", 0x6, 0, 4),
    EAX("pts", 0x6, 0, 6),
    EAX("hwp", 0x6, 0, 7),
    EAX("hwp_notify", 0x6, 0, 8),
    EAX("hwp_act_window", 0x6, 0, 9),
    EAX("hwp_epp", 0x6, 0, 10),
    EAX("hwp_pkg_req", 0x6, 0, 11),
    EAX("hfi", 0x6, 0, 19),
    ECX("aperfmperf", 0x6, 0, 0),
    ECX("epb", 0x6, 0, 3),
    /* Intel SDM vol. 2A, CPUID, leaf 07H */
    EBX("fsgsbase", 0x7, 0, 0),
    EBX("tsc_adjust", 0x7, 0, 1),
    EBX("sgx", 0x7, 0, 2),
    EBX("bmi1", 0x7, 0, 3),
    EBX("hle", 0x7, 0, 4),
    EBX("avx2", 0x7, 0, 5),
    EBX("smep", 0x7, 0, 7),
    EBX("bmi2", 0x7, 0, 8),
    EBX("erms", 0x7, 0, 9),
    EBX("invpcid", 0x7, 0, 10),
    EBX("rtm", 0x7, 0, 11),
    EBX("cqm", 0x7, 0, 12),
    EBX("mpx", 0x7, 0, 14),
    EBX("rdt_a", 0x7, 0, 15),
    EBX("avx512f", 0x7, 0, 16),
    EBX("avx512dq", 0x7, 0, 17),
    EBX("rdseed", 0x7, 0, 18),
    EBX("adx", 0x7, 0, 19),
    EBX("smap", 0x7, 0, 20),
    EBX("avx512ifma", 0x7, 0, 21),
    EBX("clflushopt", 0x7, 0, 23),
    EBX("clwb", 0x7, 0, 24),
    EBX("intel_pt", 0x7, 0, 25),
    EBX("avx512pf", 0x7, 0, 26),
    EBX("avx512er", 0x7, 0, 27),
    EBX("avx512cd", 0x7, 0, 28),
    EBX("sha_ni", 0x7, 0, 29),
    EBX("avx512bw", 0x7, 0, 30),
    EBX("avx512vl", 0x7, 0, 31),
    ECX("avx512vbmi", 0x7, 0, 1),
    ECX("umip", 0x7, 0, 2),
    ECX("pku", 0x7, 0, 3),
    ECX("ospke", 0x7, 0, 4),
    ECX("waitpkg", 0x7, 0, 5),
    ECX("avx512_vbmi2", 0x7, 0, 6),
    ECX("shstk", 0x7, 0, 7),
    ECX("gfni", 0x7, 0, 8),
    ECX("vaes", 0x7, 0, 9),
    ECX("vpclmulqdq", 0x7, 0, 10),
    ECX("avx512_vnni", 0x7, 0, 11),
    ECX("avx512_bitalg", 0x7, 0, 12),
    ECX("tme", 0x7, 0, 13),
    ECX("avx512_vpopcntdq", 0x7, 0, 14),
    ECX("la57", 0x7, 0, 16),
    ECX("rdpid", 0x7, 0, 22),
    ECX("bus_lock_detect", 0x7, 0, 24),
    ECX("cldemote", 0x7, 0, 25),
    ECX("movdiri", 0x7, 0, 27),
    ECX("movdir64b", 0x7, 0, 28),
    ECX("enqcmd", 0x7, 0, 29),
    ECX("sgx_lc", 0x7, 0, 30),
    EDX("avx512_4vnniw", 0x7, 0, 2),
    EDX("avx512_4fmaps", 0x7, 0, 3),
    EDX("fsrm", 0x7, 0, 4),
    EDX("avx512_vp2intersect", 0x7, 0, 8),
    EDX("srbds_ctrl", 0x7, 0, 9),
    EDX("md_clear", 0x7, 0, 10),
    EDX("rtm_always_abort", 0x7, 0, 11),
    EDX("tsx_force_abort", 0x7, 0, 13),
    EDX("serialize", 0x7, 0, 14),
    EDX("hybrid_cpu", 0x7, 0, 15),
    EDX("tsxldtrk", 0x7, 0, 16),
    EDX("pconfig", 0x7, 0, 18),
    EDX("arch_lbr", 0x7, 0, 19),
    EDX("ibt", 0x7, 0, 20),
    EDX("amx_bf16", 0x7, 0, 22),
    EDX("avx512_fp16", 0x7, 0, 23),
    EDX("amx_tile", 0x7, 0, 24),
    EDX("amx_int8", 0x7, 0, 25),
    EDX("spec_ctrl", 0x7, 0, 26),
    EDX("intel_stibp", 0x7, 0, 27),
    EDX("flush_l1d", 0x7, 0, 28),
    EDX("arch_capabilities", 0x7, 0, 29),
    EDX("core_capabilities", 0x7, 0, 30),
    EDX("spec_ctrl_ssbd", 0x7, 0, 31),
    /* Intel SDM vol. 2A, CPUID, leaf 07H, subleaf 1 */
    EAX("sha512", 0x7, 1, 0),
    EAX("sm3", 0x7, 1, 1),
    EAX("sm4", 0x7, 1, 2),
    EAX("avx_vnni", 0x7, 1, 4),
    EAX("avx512_bf16", 0x7, 1, 5),
    EAX("cmpccxadd", 0x7, 1, 7),
    EAX("arch_perfmon_ext", 0x7, 1, 8),
    EAX("fzrm", 0x7, 1, 10),
    EAX("fsrs", 0x7, 1, 11),
    EAX("fsrc", 0x7, 1, 12),
    EAX("fred", 0x7, 1, 17),
    EAX("lkgs", 0x7, 1, 18),
    EAX("wrmsrns", 0x7, 1, 19),
    EAX("amx_fp16", 0x7, 1, 21),
    EAX("avx_ifma", 0x7, 1, 23),
    EAX("lam", 0x7, 1, 26),
    EDX("avx_vnni_int8", 0x7, 1, 4),
    EDX("avx_ne_convert", 0x7, 1, 5),
    EDX("amx_complex", 0x7, 1, 8),
    EDX("avx_vnni_int16", 0x7, 1, 10),
    EDX("prefetchiti", 0x7, 1, 14),
    EDX("avx10", 0x7, 1, 19),
    /* Intel SDM vol. 2A, CPUID, leaf 0DH, subleaf 1 */
    EAX("xsaveopt", 0xd, 1, 0),
    EAX("xsavec", 0xd, 1, 1),
    EAX("xgetbv1", 0xd, 1, 2),
    EAX("xsaves", 0xd, 1, 3),
    EAX("xfd", 0xd, 1, 4),
    /* AMD APM vol. 3, appendix E.4, function 8000_0001h */
    EDX("syscall", 0x80000001, 0, 11),
    EDX("mp", 0x80000001, 0, 19),
    EDX("nx", 0x80000001, 0, 20),
    EDX("mmxext", 0x80000001, 0, 22),
    EDX("fxsr_opt", 0x80000001, 0, 25),
    EDX("pdpe1gb", 0x80000001, 0, 26),
    EDX("rdtscp", 0x80000001, 0, 27),
    EDX("lm", 0x80000001, 0, 29),
    EDX("3dnowext", 0x80000001, 0, 30),
    EDX("3dnow", 0x80000001, 0, 31),
    ECX("lahf_lm", 0x80000001, 0, 0),
    ECX("cmp_legacy", 0x80000001, 0, 1),
    ECX("svm", 0x80000001, 0, 2),
    ECX("extapic", 0x80000001, 0, 3),
    ECX("cr8_legacy", 0x80000001, 0, 4),
    ECX("abm", 0x80000001, 0, 5),
    ECX("sse4a", 0x80000001, 0, 6),
    ECX("misalignsse", 0x80000001, 0, 7),
    ECX("3dnowprefetch", 0x80000001, 0, 8),
    ECX("osvw", 0x80000001, 0, 9),
    ECX("ibs", 0x80000001, 0, 10),
    ECX("xop", 0x80000001, 0, 11),
    ECX("skinit", 0x80000001, 0, 12),
    ECX("wdt", 0x80000001, 0, 13),
    ECX("lwp", 0x80000001, 0, 15),
    ECX("fma4", 0x80000001, 0, 16),
    ECX("tce", 0x80000001, 0, 17),
    ECX("nodeid_msr", 0x80000001, 0, 19),
    ECX("tbm", 0x80000001, 0, 21),
    ECX("topoext", 0x80000001, 0, 22),
    ECX("perfctr_core", 0x80000001, 0, 23),
    ECX("perfctr_nb", 0x80000001, 0, 24),
    ECX("bpext", 0x80000001, 0, 26),
    ECX("ptsc", 0x80000001, 0, 27),
    ECX("perfctr_llc", 0x80000001, 0, 28),
    ECX("mwaitx", 0x80000001, 0, 29),
    /* AMD APM vol. 3, appendix E.4, function 8000_0007h */
    EBX("overflow_recov", 0x80000007, 0, 0),
    EBX("succor", 0x80000007, 0, 1),
    EBX("smca", 0x80000007, 0, 3),
    /* AMD APM vol. 3, appendix E.4, function 8000_0007h; constant_tsc and nonstop_tsc follow from the same bit */
    EDX("hw_pstate", 0x80000007, 0, 7),
    EDX("constant_tsc", 0x80000007, 0, 8),
    EDX("nonstop_tsc", 0x80000007, 0, 8),
    EDX("cpb", 0x80000007, 0, 9),
    EDX("proc_feedback", 0x80000007, 0, 11),
    /* AMD APM vol. 3, appendix E.4, function 8000_0008h */
    EBX("clzero", 0x80000008, 0, 0),
    EBX("irperf", 0x80000008, 0, 1),
    EBX("xsaveerptr", 0x80000008, 0, 2),
    EBX("rdpru", 0x80000008, 0, 4),
    EBX("wbnoinvd", 0x80000008, 0, 9),
    EBX("amd_ibpb", 0x80000008, 0, 12),
    EBX("amd_ibrs", 0x80000008, 0, 14),
    EBX("amd_stibp", 0x80000008, 0, 15),
    EBX("amd_stibp_always_on", 0x80000008, 0, 17),
    EBX("amd_ppin", 0x80000008, 0, 23),
    EBX("amd_ssbd", 0x80000008, 0, 24),
    EBX("virt_ssbd", 0x80000008, 0, 25),
    EBX("amd_ssb_no", 0x80000008, 0, 26),
    EBX("cppc", 0x80000008, 0, 27),
    EBX("amd_psfd", 0x80000008, 0, 28),
    EBX("btc_no", 0x80000008, 0, 29),
    EBX("brs", 0x80000008, 0, 31),
    /* AMD APM vol. 3, appendix E.4, function 8000_001Fh */
    EAX("sme", 0x8000001f, 0, 0),
    EAX("sev", 0x8000001f, 0, 1),
    EAX("sev_es", 0x8000001f, 0, 3),
    /* AMD APM vol. 3, appendix E.4, function 8000_0021h */
    EAX("no_nested_data_bp", 0x80000021, 0, 0),
    EAX("lfence_rdtsc", 0x80000021, 0, 2),
    EAX("null_sel_clr_base", 0x80000021, 0, 6),
    EAX("autoibrs", 0x80000021, 0, 8),
    EAX("no_smm_ctl_msr", 0x80000021, 0, 9),
    EAX("sbpb", 0x80000021, 0, 27),
    EAX("ibpb_brtype", 0x80000021, 0, 28),
    EAX("srso_no", 0x80000021, 0, 29),
    /* AMD APM vol. 3, appendix E.4, function 8000_0022h */
    EAX("perfmon_v2", 0x80000022, 0, 0),
    EAX("amd_lbr_v2", 0x80000022, 0, 1),
    /* Linux, Documentation/virt/kvm/x86/cpuid.rst; the clock has an old and a new pair of MSRs */
    {"kvmclock", CPUID_EAX, 0, KVM_CPUID_FEATURES,
     1u << KVM_FEATURE_CLOCKSOURCE | 1u << KVM_FEATURE_CLOCKSOURCE2},
    EAX("kvm_nop_io_delay", KVM_CPUID_FEATURES, 0, KVM_FEATURE_NOP_IO_DELAY),
    EAX("kvm_mmu_op", KVM_CPUID_FEATURES, 0, KVM_FEATURE_MMU_OP),
    EAX("kvm_async_pf", KVM_CPUID_FEATURES, 0, KVM_FEATURE_ASYNC_PF),
    EAX("kvm_steal_time", KVM_CPUID_FEATURES, 0, KVM_FEATURE_STEAL_TIME),
    EAX("kvm_pv_eoi", KVM_CPUID_FEATURES, 0, KVM_FEATURE_PV_EOI),
    EAX("kvm_pv_unhalt", KVM_CPUID_FEATURES, 0, KVM_FEATURE_PV_UNHALT),
    EAX("kvm_pv_tlb_flush", KVM_CPUID_FEATURES, 0, KVM_FEATURE_PV_TLB_FLUSH),
    EAX("kvm_async_pf_vmexit", KVM_CPUID_FEATURES, 0, KVM_FEATURE_ASYNC_PF_VMEXIT),
    EAX("kvm_pv_send_ipi", KVM_CPUID_FEATURES, 0, KVM_FEATURE_PV_SEND_IPI),
    EAX("kvm_poll_control", KVM_CPUID_FEATURES, 0, KVM_FEATURE_POLL_CONTROL),
    EAX("kvm_pv_sched_yield", KVM_CPUID_FEATURES, 0, KVM_FEATURE_PV_SCHED_YIELD),
    EAX("kvm_async_pf_int", KVM_CPUID_FEATURES, 0, KVM_FEATURE_ASYNC_PF_INT),
    EAX("kvm_msi_ext_dest_id", KVM_CPUID_FEATURES, 0, KVM_FEATURE_MSI_EXT_DEST_ID),
    EAX("kvmclock_stable", KVM_CPUID_FEATURES, 0, KVM_FEATURE_CLOCKSOURCE_STABLE_BIT),
};
/* clang-format on */

static const size_t feature_count = sizeof(features) / sizeof(features[0]);

const struct cpu_feature *cpu_feature_find(const char *name)
{
    for (size_t i = 0; i < feature_count; i++)
        if (strcmp(features[i].name, name) == 0)
            return &features[i];
    return NULL;
}

const char *cpu_feature_nearest(const char *name)
{
    unsigned best = UINT_MAX;
    const char *nearest = NULL;

    for (size_t i = 0; i < feature_count; i++) {
        unsigned distance = config_text_distance(name, features[i].name);
        if (distance < best) {
            best = distance;
            nearest = features[i].name;
        }
    }
    return best <= config_text_tolerance(name) ? nearest : NULL;
}

size_t cpu_feature_count(void)
{
    return feature_count;
}

const struct cpu_feature *cpu_feature_at(size_t index)
{
    return &features[index];
}
