# The design's arrows, enforced: a target finds only the headers of the layers that it may lean on.
#
# Sources include from the root of the tree ("memory/support/error.h"). A layer's include root holds links to just the
# folders that others may see, so an include against the arrows does not build.

# quire_include_root(NAME FOLDER...): makes ${CMAKE_BINARY_DIR}/include/NAME with a link for each FOLDER.
function(quire_include_root name)
    set(root ${CMAKE_BINARY_DIR}/include/${name})
    foreach(folder IN LISTS ARGN)
        get_filename_component(parent ${root}/${folder} DIRECTORY)
        file(MAKE_DIRECTORY ${parent})
        file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${root}/${folder} SYMBOLIC)
    endforeach()
endfunction()

# What any layer may use of memory/ besides <Hypervisor/...>: error and log, and the addresses of the machine.
quire_include_root(memory-shared memory/support memory/x86)
quire_include_root(memory-internal memory)
quire_include_root(devices devices)
quire_include_root(loader loader)
quire_include_root(vcpu vmm/vcpu)
quire_include_root(debug vmm/debug)
quire_include_root(vmm vmm/machine vmm/maps vmm/config vmm/console vmm/sandbox vmm/cli vmm/debug vmm/gdb
    vmm/agent vmm/control vmm/scenario vmm/runner vmm/report)

# quire_layer(TARGET ROOT...): TARGET may include from these roots.
function(quire_layer target)
    foreach(root IN LISTS ARGN)
        target_include_directories(${target} PRIVATE ${CMAKE_BINARY_DIR}/include/${root})
    endforeach()
endfunction()
