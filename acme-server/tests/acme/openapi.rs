//! docs/openapi.json has every route that answers without a signature.

use acme_server::{Access, ROUTES};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::world::World;

fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

#[tokio::test]
async fn every_route_without_a_signature_is_in_the_openapi_document() {
    let (world, document) = (World::new(), document());
    let paths = document["paths"].as_object().unwrap();
    let mut seen = 0;
    for route in &ROUTES {
        // Whatever stands for a parameter: only whether the method is taken counts.
        let path = route.path.replace(['{', '}'], "");
        for method in [Method::GET, Method::HEAD] {
            let request = Request::builder().method(&method).uri(&path).body(Body::empty()).unwrap();
            if world.send(request).await.status == StatusCode::METHOD_NOT_ALLOWED {
                assert!(route.access != Access::Anyone, "{method} {}: anyone may ask, and nothing takes it", route.path);
                continue;
            }
            let name = method.as_str().to_ascii_lowercase();
            // HEAD is GET's without a body, and described where it differs.
            let described = paths.get(route.path).is_some_and(|p| p.get(&name).is_some() || (name == "head" && p.get("get").is_some()));
            assert!(described, "{method} {} is not in docs/openapi.json (hint: describe it there)", route.path);
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
    // What needs a signature is RFC 8555's.
    assert!(paths.iter().filter(|(path, _)| path.starts_with("/acme/")).all(|(_, methods)| methods.get("post").is_none()));
}

#[test]
fn the_openapi_document_holds_together() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = std::collections::BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(operations.insert(id.to_owned()), "{id} stands twice");
            assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{method} {path} answers nothing");
            let declared: Vec<_> = operation["parameters"].as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
            let wanted: Vec<_> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            assert_eq!(declared, wanted, "{method} {path}");
        }
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}
