/* For LD_PRELOAD: Debian's crun raises RLIMIT_MEMLOCK before it loads its device filter, which a machine without CAP_SYS_RESOURCE refuses and
 * no kernel since 5.11 needs. setrlimit does nothing and succeeds. */
#include <sys/resource.h>
int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) { (void)resource; (void)limit; return 0; }
int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit) { (void)resource; (void)limit; return 0; }
