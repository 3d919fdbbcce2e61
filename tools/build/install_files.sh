#!/bin/bash
# install_files.sh ROOT BUILT PREFIX: installs below PREFIX the files that were built in the folder BUILT, and the files
# of the tree ROOT that belong to them. tools/install and its test call it.
set -euo pipefail
root=$1 built=$2 prefix=$3

version=$(sed -n 's/^#define HAK_VERSION_STRING "\(.*\)"/\1/p' "$root/include/hakmem.h")

mkdir -p "$prefix"/{include,lib/pkgconfig,lib/cmake/hakmem,share/man/man1,share/man/man7,share/doc/hakmem,bin,libexec/hakmem}
install -m 644 "$root/include/hakmem.h" "$root/include/hakmem.hpp" "$root/include/hakmem_jemalloc.h" "$prefix/include/"
for section in 1 7; do
    sed "s/@VERSION@/$version/" "$root/docs/hakmem.$section" >"$prefix/share/man/man$section/hakmem.$section"
done
install -m 644 "$root/docs/hakmem.conf" "$root/docs/stats.schema.json" "$prefix/share/doc/hakmem/"
install -m 755 "$root/tools/hakmem" "$prefix/bin/"
install -m 755 "$root/tools/explain" "$root/tools/heap_profile" "$prefix/libexec/hakmem/"
for product in hakmem hakmem-hardened; do
    install -m 644 "$built/lib$product.a" "$prefix/lib/"
    install -m 755 "$built/lib$product.so" "$built/lib$product-dlopen.so" "$prefix/lib/"
    for flavour in "" -dlopen; do # gdb looks here for the script of a library
        install -m 644 "$root/tools/hakmem_gdb.py" "$prefix/lib/lib$product$flavour.so-gdb.py"
    done
    variant=speed
    [ $product = hakmem ] || variant=hardened
    cat >"$prefix/lib/pkgconfig/$product.pc" <<END
prefix=$prefix
Name: $product
Description: hakmem memory allocator, $variant variant
Version: $version
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -l$product
Libs.private: -pthread
END
done

cat >"$prefix/lib/cmake/hakmem/hakmemConfigVersion.cmake" <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
END
cat >"$prefix/lib/cmake/hakmem/hakmemConfig.cmake" <<'END'
# hakmem::hakmem, hakmem::hakmem-hardened (shared); hakmem::hakmem-static, hakmem::hakmem-hardened-static
get_filename_component(_hakmem_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
foreach(_product hakmem hakmem-hardened)
  if(NOT TARGET hakmem::${_product})
    add_library(hakmem::${_product} SHARED IMPORTED)
    set_target_properties(hakmem::${_product} PROPERTIES
      IMPORTED_LOCATION "${_hakmem_prefix}/lib/lib${_product}.so"
      INTERFACE_INCLUDE_DIRECTORIES "${_hakmem_prefix}/include")
    add_library(hakmem::${_product}-static STATIC IMPORTED)
    set_target_properties(hakmem::${_product}-static PROPERTIES
      IMPORTED_LOCATION "${_hakmem_prefix}/lib/lib${_product}.a"
      INTERFACE_INCLUDE_DIRECTORIES "${_hakmem_prefix}/include")
  endif()
endforeach()
END
