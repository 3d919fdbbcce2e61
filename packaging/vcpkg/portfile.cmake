# Not run here: vcpkg is not in Debian. The tarball is what `git archive --prefix=hakmem-VERSION/` makes of the release's tag.
vcpkg_download_distfile(ARCHIVE
  URLS "https://example.org/hakmem/hakmem-${VERSION}.tar.gz"
  FILENAME "hakmem-${VERSION}.tar.gz"
  SHA512 0)
vcpkg_extract_source_archive(SOURCE_PATH ARCHIVE "${ARCHIVE}")
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}" OPTIONS -DBUILD_TESTING=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/hakmem)
vcpkg_fixup_pkgconfig()
vcpkg_copy_tool_dependencies("${CURRENT_PACKAGES_DIR}/bin")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
