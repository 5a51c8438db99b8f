//! docs/openapi.json has every route that answers without a signature.

use acme_server::{Access, ROUTES};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::certificates::cert_id;
use crate::client::csr;
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

/// Each way in which a request without a signature is answered, the refusals among them.
#[tokio::test]
async fn each_answer_to_a_request_without_a_signature_is_in_the_openapi_document() {
    let (world, document) = (World::new(), document());
    let account = world.account().await;
    let mut stars = Vec::new();
    for open in [true, false] {
        let order = crate::star::order(&world, &["a.demo.test"], serde_json::json!({ "allow-certificate-get": open })).to_string();
        let created = account.post("/acme/new-order", &order).await;
        let path = created.is(201).header("location").strip_prefix(crate::world::BASE).unwrap().replace("/order/", "/star/");
        stars.push((path, created.json()));
    }
    let mut asked = Vec::new();
    for (path, _) in &stars {
        asked.extend([("/acme/star/{id}", path.clone()), ("/acme/star/{id}/{n}", format!("{path}/9"))]);
    }
    asked.extend([("/acme/star/{id}", "/acme/star/none".to_owned()), ("/acme/star/{id}/{n}", "/acme/star/none/x".to_owned())]);
    for id in ["none", "AAAA.AQ", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"] {
        asked.push(("/acme/renewal-info/{id}", format!("/acme/renewal-info/{id}")));
    }
    for scope in ["a/demo/acme/p/short", "a/demo/acme/p/none", "a/none/acme/p/short"] {
        asked.push(("/a/{authority}/acme/p/{profile}/directory", format!("/{scope}/directory")));
    }
    asked.extend([("/acme/directory", "/acme/directory".to_owned()), ("/acme/new-nonce", "/acme/new-nonce".to_owned())]);
    let check = async |when: &str, asked: &[(&'static str, String)]| {
        let mut seen = std::collections::BTreeSet::new();
        for (route, path) in asked {
            let status = world.get(path).await.status.as_u16().to_string();
            let told = &document["paths"][route]["get"]["responses"];
            assert!(told.get(&status).is_some(), "{when}: GET {path} answers {status}, which {route} does not have in docs/openapi.json");
            seen.insert((*route, status));
        }
        seen
    };
    let mut seen = check("before the certificates are there", &asked).await;
    for (_, order) in &stars {
        account.finalize(order, &csr(&["a.demo.test"], None)).await.is(200);
    }
    let certificate = world.state().certificates.values().next().unwrap().der.clone();
    let id = cert_id(&ca_core::pki::Certificate::from_der(&certificate).unwrap());
    asked.push(("/acme/renewal-info/{id}", format!("/acme/renewal-info/{id}")));
    seen.extend(check("while they renew", &asked).await);
    let url = stars[0].1["finalize"].as_str().unwrap().strip_suffix("/finalize").unwrap();
    account.post(url, r#"{"status":"canceled"}"#).await.is(200);
    seen.extend(check("once canceled", &asked).await);
    world.state().down = true;
    seen.extend(check("while the store is away", &asked).await);
    // And no more than that.
    for route in asked.iter().map(|(route, _)| *route) {
        for status in document["paths"][route]["get"]["responses"].as_object().unwrap().keys() {
            let found = seen.contains(&(route, status.clone())) || route.ends_with("{n}") && status == "200";
            assert!(found, "{route} has {status} in docs/openapi.json, which no request here met");
        }
    }
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
