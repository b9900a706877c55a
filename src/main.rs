fn main() { for crd in okr_operator::api::crd::all() { println!("---\n{}", okr_operator::api::crd::yaml(&crd)); } }
