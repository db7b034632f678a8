//! Files that Envoy watches, and its listener in one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// Where the filters stand in a listener, and the configuration in each of ours.
const FILTERS: &str = "/filter_chains/0/filters/0/typed_config/http_filters";
const CONFIGURATION: &str = "/typed_config/config/configuration/value";

/// Moves the listener out of the configuration into a file, of which Envoy is told the place.
pub fn take_listener_out(bootstrap: &mut Value, folder: &Path) {
    let path = file_of(folder);
    let mut listener = bootstrap["static_resources"]["listeners"][0].take();
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    write(&path, &json!({ "version_info": "1", "resources": [listener] }));
    bootstrap["static_resources"]["listeners"] = json!([]);
    bootstrap["dynamic_resources"] = json!({ "lds_config": {
        "path_config_source": { "path": path.display().to_string() },
        "resource_api_version": "V3",
    } });
    // Envoy asks for listeners only under a name of its own.
    bootstrap["node"] = json!({ "id": "renewed", "cluster": "renewed" });
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join("listeners.json")
}

/// Replaces a file that Envoy watches: it looks when one is moved to the place.
pub fn write(path: &Path, document: &Value) {
    let coming = path.with_extension("coming");
    fs::write(&coming, document.to_string()).expect("the folder can be written");
    fs::rename(&coming, path).expect("it is one folder");
}

/// Writes the next version of the listener, with this configuration of the filter.
pub fn rewrite(folder: &Path, version: usize, configuration: &str) {
    let file = file_of(folder);
    let text = fs::read_to_string(&file).expect("it was written");
    let mut document: Value = serde_json::from_str(&text).expect("it is JSON");
    document["version_info"] = json!(version.to_string());
    let filters = document["resources"][0].pointer_mut(FILTERS).and_then(Value::as_array_mut);
    for filter in filters.expect("the listener has filters") {
        if let Some(place) = filter.pointer_mut(CONFIGURATION) {
            *place = json!(configuration);
        }
    }
    write(&file, &document);
}
