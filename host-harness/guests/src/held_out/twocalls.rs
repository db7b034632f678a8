//! Two services are asked at once: the profile and the quota of a user; both answers become headers.
//! Fault: the first answer is taken for the first question's.
use proxy_wasm::traits::*;
use proxy_wasm::types::*;
use std::time::Duration;

pub(super) fn root(_: u32) -> Box<dyn proxy_wasm::traits::RootContext> {
    super::only(Box::<Enrich>::default)
}

#[derive(Default)]
struct Enrich {
    profile_call: u32,
    quota_call: u32,
    profile: Option<String>,
    quota: Option<String>,
    answers: usize,
}

impl Enrich {
    fn ask(&self, cluster: &str, user: &str) -> Result<u32, Status> {
        let path = format!("/{cluster}?user={user}");
        self.dispatch_http_call(
            cluster,
            vec![(":method", "GET"), (":path", &path), (":authority", cluster), ("x-user", user)],
            None,
            vec![],
            Duration::from_secs(2),
        )
    }
}

impl HttpContext for Enrich {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let user = self.get_http_request_header("x-user").unwrap_or("anonymous".into());
        let (Ok(profile), Ok(quota)) = (self.ask("profile", &user), self.ask("quota", &user)) else {
            self.send_http_response(500, vec![], Some(b"cannot ask"));
            return Action::Pause;
        };
        self.profile_call = profile;
        self.quota_call = quota;
        Action::Pause
    }
}

impl Context for Enrich {
    fn on_http_call_response(&mut self, token: u32, headers: usize, size: usize, _: usize) {
        let text = match (headers > 0).then(|| self.get_http_call_response_header(":status")).flatten() {
            Some(status) if status == "200" => {
                let body = self.get_http_call_response_body(0, size).unwrap_or_default();
                String::from_utf8_lossy(&body).chars().filter(|c| c.is_ascii_graphic()).take(120).collect()
            }
            _ => "unknown".to_string(),
        };
        self.answers += 1;
        let is_profile = if super::faulty() { self.answers == 1 } else { token == self.profile_call };
        if is_profile {
            self.profile = Some(text)
        } else {
            self.quota = Some(text)
        }
        if let (Some(profile), Some(quota)) = (&self.profile, &self.quota) {
            self.set_http_request_header("x-profile", Some(profile));
            self.set_http_request_header("x-quota", Some(quota));
            self.resume_http_request();
        }
    }
}
