// SPDX-License-Identifier: BSD-3-Clause
// The file that a request's URL names, where lighttpd does not ask for it itself.
#include "lighty/physical_path.h"

#include <type_traits>

namespace lighty {
namespace {

using Hook = handler_t (*)(request_st*, void*);

// Newer versions list the plugins' data, which point to the plugins; older ones the reverse. Calls
// visit(plugin, data) for each.
template <class Plugin, class Visit>
handler_t for_each_plugin(const server* srv, Visit visit) {
    for (uint32_t i = 0; i < srv->plugins.used; ++i) {
        handler_t result = HANDLER_GO_ON;
        if constexpr (requires(Plugin p) { p.data; }) {
            Plugin* const p = static_cast<Plugin**>(srv->plugins.ptr)[i];
            result = visit(*p, p->data);
        } else {
            auto* const data = static_cast<plugin_data_base**>(srv->plugins.ptr)[i];
            result = visit(*data->self, data);
        }
        if (result != HANDLER_GO_ON) return result;
    }
    return HANDLER_GO_ON;
}

handler_t call_hooks(request_st* r, Hook plugin::*hook) {
    return for_each_plugin<plugin>(r->con->srv, [&](const plugin& p, void* data) {
        return p.*hook ? (p.*hook)(r, data) : HANDLER_GO_ON;
    });
}

}  // namespace

handler_t find_physical_path(request_st* r) {
    if (!buffer_is_blank(&r->physical.doc_root)) return HANDLER_GO_ON;
    handler_t result = call_hooks(r, &plugin::handle_docroot);
    if (result != HANDLER_GO_ON) return result;

    buffer_copy_buffer(&r->physical.rel_path, &r->uri.path);
    if (r->conf.force_lowercase_filenames) buffer_to_lower(&r->physical.rel_path);
    if (buffer_is_blank(&r->physical.doc_root))
        buffer_copy_buffer(&r->physical.doc_root, r->conf.document_root);
    buffer_copy_buffer(&r->physical.basedir, &r->physical.doc_root);
    buffer_copy_path_len2(&r->physical.path, BUF_PTR_LEN(&r->physical.doc_root),
                          BUF_PTR_LEN(&r->physical.rel_path));
    return call_hooks(r, &plugin::handle_physical);
}

}  // namespace lighty
